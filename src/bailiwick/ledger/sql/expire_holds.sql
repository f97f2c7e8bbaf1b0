-- Gives back up to `at_most` open holds whose lease is over, of every organisation, oldest lease first; answers what
-- expired. Holds that someone else is closing at this moment are passed over (SKIP LOCKED), so this never waits for a
-- settlement, and several sweepers share the work. Locks: holds, then accounts, then budgets, each in id order.
-- Runs in its caller's transaction as bailiwick_system, so that the sweep can also mark what the holds were for.
create or replace function ledger_expire_holds(at_most integer)
returns table (organization_id uuid, hold_id uuid, ledger text, debit_account_id uuid, amount bigint, kind text,
               reference text, lease_expires_at timestamptz)
language plpgsql
set search_path = pg_catalog, public
as $$
#variable_conflict use_column
declare
  moment timestamptz := clock_timestamp();
  organizations uuid[];
  expired uuid[];
begin
  select array_agg(h.organization_id), array_agg(h.id) into organizations, expired
    from (select h.organization_id, h.id from holds h
           where h.state = 'open' and h.lease_expires_at <= moment
           order by h.lease_expires_at, h.organization_id, h.id
           limit at_most for update skip locked) as h;
  if expired is null then
    return;
  end if;

  update holds h set state = 'expired', posted_amount = 0, closed_at = moment
    from unnest(organizations, expired) as e (organization_id, id)
   where h.organization_id = e.organization_id and h.id = e.id;

  perform 1 from accounts a
   where (a.organization_id, a.id) in (
     select h.organization_id, h.debit_account_id from unnest(organizations, expired) as e (organization_id, id)
       join holds h on h.organization_id = e.organization_id and h.id = e.id)
   order by a.organization_id, a.id for no key update;
  update accounts a set held = a.held - freed.amount
    from (select h.organization_id, h.debit_account_id, sum(h.amount)::bigint as amount
            from unnest(organizations, expired) as e (organization_id, id)
            join holds h on h.organization_id = e.organization_id and h.id = e.id
           group by h.organization_id, h.debit_account_id) as freed
   where a.organization_id = freed.organization_id and a.id = freed.debit_account_id;

  perform 1 from budgets b
   where (b.organization_id, b.id) in (
     select h.organization_id, unnest(h.budget_ids) from unnest(organizations, expired) as e (organization_id, id)
       join holds h on h.organization_id = e.organization_id and h.id = e.id)
   order by b.organization_id, b.id for no key update;
  update budgets b
     set held = b.held - case b.unit when 'runs' then freed.runs when 'tokens' then freed.tokens else freed.amount end
    from (select h.organization_id, u.budget_id, count(*) as runs, sum(h.tokens)::bigint as tokens,
                 sum(h.amount)::bigint as amount
            from unnest(organizations, expired) as e (organization_id, id)
            join holds h on h.organization_id = e.organization_id and h.id = e.id
           cross join lateral unnest(h.budget_ids) as u (budget_id)
            join budgets w on w.organization_id = h.organization_id and w.id = u.budget_id
           -- Admitted requests stay counted; what an earlier window of a limit per minute held is gone with it.
           where w.unit <> 'requests' and (w.period <> 'minute' or h.created_at >= w.period_start)
           group by h.organization_id, u.budget_id) as freed
   where b.organization_id = freed.organization_id and b.id = freed.budget_id;

  return query
    select h.organization_id, h.id, h.ledger, h.debit_account_id, h.amount::bigint, h.kind, h.reference,
           h.lease_expires_at
      from unnest(organizations, expired) as e (organization_id, id)
      join holds h on h.organization_id = e.organization_id and h.id = e.id
     order by h.organization_id, h.id;
end $$;
alter function ledger_expire_holds owner to bailiwick_system;
revoke execute on function ledger_expire_holds from public;
