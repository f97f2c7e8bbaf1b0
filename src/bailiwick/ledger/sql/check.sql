-- Every way in which the ledger's rows contradict each other: one row for each contradiction, `found` and `expected`
-- in the account's or budget's own unit. One statement, so one snapshot: it may run while the server works.
create or replace function ledger_check(grace interval)
returns table (problem text, organization_id uuid, subject uuid, expected numeric, found numeric)
language sql stable
set search_path = pg_catalog, public
as $$
  with
  entries as (
    select t.organization_id, t.debit_account_id as account_id, -t.amount as amount from transfers t
    union all
    select t.organization_id, t.credit_account_id, t.amount from transfers t
  ),
  moved as (
    select e.organization_id, e.account_id, sum(e.amount) as amount from entries e
     group by e.organization_id, e.account_id
  ),
  reserved as (
    select h.organization_id, h.debit_account_id as account_id, sum(h.amount) as amount from holds h
     where h.state = 'open' group by h.organization_id, h.debit_account_id
  ),
  charged as (
    select t.organization_id, t.hold_id, count(*) as transfers, sum(t.amount) as amount,
           min(t.debit_account_id::text) as debit, min(t.credit_account_id::text) as credit
      from transfers t where t.hold_id is not null group by t.organization_id, t.hold_id
  ),
  used as (
    select h.organization_id, u.budget_id,
           coalesce(sum(h.amount) filter (where h.state = 'open'), 0) as held_amount,
           coalesce(sum(h.tokens) filter (where h.state = 'open'), 0) as held_tokens,
           count(*) filter (where h.state = 'open') as held_runs,
           coalesce(sum(h.posted_amount) filter (where h.state <> 'open'), 0) as spent_amount,
           coalesce(sum(h.posted_tokens) filter (where h.state <> 'open'), 0) as spent_tokens,
           coalesce(sum(h.posted_runs) filter (where h.state <> 'open'), 0) as spent_runs,
           count(*) as requests
      from holds h cross join lateral unnest(h.budget_ids) as u (budget_id)
      left join budgets b on b.organization_id = h.organization_id and b.id = u.budget_id
     -- A limit per minute counts what its present window admitted.
     where b.period is distinct from 'minute' or h.created_at >= b.period_start
     group by h.organization_id, u.budget_id
  ),
  budget_use as (
    select b.organization_id, b.id, b.held, b.spent, greatest(b.limit_amount, b.lowered_from) as highest_limit,
           coalesce(case b.unit when 'runs' then u.held_runs when 'tokens' then u.held_tokens when 'requests' then 0
                                else u.held_amount end, 0)
             as expected_held,
           coalesce(case b.unit when 'runs' then u.spent_runs when 'tokens' then u.spent_tokens
                                when 'requests' then u.requests else u.spent_amount end, 0) as expected_spent
      from budgets b left join used u on u.organization_id = b.organization_id and u.budget_id = b.id
  )
  select 'ledger_not_zero', a.organization_id, null::uuid, 0::numeric, sum(a.balance)
    from accounts a group by a.organization_id, a.ledger having sum(a.balance) <> 0
  union all
  select 'balance_differs', a.organization_id, a.id, coalesce(m.amount, 0), a.balance
    from accounts a left join moved m on m.organization_id = a.organization_id and m.account_id = a.id
   where a.balance <> coalesce(m.amount, 0)
  union all
  select 'held_differs', a.organization_id, a.id, coalesce(r.amount, 0), a.held
    from accounts a left join reserved r on r.organization_id = a.organization_id and r.account_id = a.id
   where a.held <> coalesce(r.amount, 0)
  union all
  select 'below_floor', a.organization_id, a.id, a.floor, a.balance - a.held
    from accounts a where a.balance - a.held < a.floor
  union all
  select 'hold_past_lease', h.organization_id, h.id, extract(epoch from h.lease_expires_at),
         extract(epoch from now())
    from holds h where h.state = 'open' and h.lease_expires_at < now() - grace
  union all
  select 'hold_account_wrong', h.organization_id, h.id, null, null
    from holds h
    left join accounts d on d.organization_id = h.organization_id and d.id = h.debit_account_id
    left join accounts c on c.organization_id = h.organization_id and c.id = h.credit_account_id
   where d.ledger is distinct from h.ledger or c.ledger is distinct from h.ledger
  union all
  select 'transfer_account_wrong', t.organization_id, t.id, null, null
    from transfers t
    left join accounts d on d.organization_id = t.organization_id and d.id = t.debit_account_id
    left join accounts c on c.organization_id = t.organization_id and c.id = t.credit_account_id
   where d.ledger is distinct from t.ledger or c.ledger is distinct from t.ledger
  union all
  -- A posted hold has one transfer of what it posted, between its accounts (none for 0); any other hold has none.
  select 'hold_transfer_differs', h.organization_id, h.id,
         case h.state when 'posted' then h.posted_amount else 0 end, coalesce(c.amount, 0)
    from holds h left join charged c on c.organization_id = h.organization_id and c.hold_id = h.id
   where coalesce(c.amount, 0) is distinct from case h.state when 'posted' then h.posted_amount else 0 end
      or c.transfers > 1 or c.debit <> h.debit_account_id::text or c.credit <> h.credit_account_id::text
  union all
  select 'transfer_hold_missing', c.organization_id, c.hold_id, null, c.amount
    from charged c left join holds h on h.organization_id = c.organization_id and h.id = c.hold_id
   where h.id is null
  union all
  select 'correction_wrong', t.organization_id, t.id, w.amount, t.amount
    from transfers t left join transfers w on w.organization_id = t.organization_id and w.id = t.corrects_id
   where t.corrects_id is not null
     and (w.id is null or w.corrects_id is not null or w.amount <> t.amount
          or w.debit_account_id <> t.credit_account_id or w.credit_account_id <> t.debit_account_id)
  union all
  select 'corrected_twice', t.organization_id, t.corrects_id, 1, count(*)
    from transfers t where t.corrects_id is not null group by t.organization_id, t.corrects_id having count(*) > 1
  union all
  select 'budget_held_differs', b.organization_id, b.id, b.expected_held, b.held
    from budget_use b where b.held <> b.expected_held
  union all
  select 'budget_spent_differs', b.organization_id, b.id, b.expected_spent, b.spent
    from budget_use b where b.spent <> b.expected_spent
  union all
  select 'budget_overspent', b.organization_id, b.id, b.highest_limit, b.spent + b.held
    from budget_use b where b.spent + b.held > b.highest_limit
  union all
  select 'hold_budget_missing', u.organization_id, u.budget_id, null, null
    from used u left join budgets b on b.organization_id = u.organization_id and b.id = u.budget_id
   where b.id is null;
$$;
alter function ledger_check owner to bailiwick_system;
revoke execute on function ledger_check from public;
