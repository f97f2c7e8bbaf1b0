-- Settles invocations: posts or voids each hold, writes the row, appends to the audit log and the outbox; all items
-- of a batch in one transaction.
--
-- What was used (cost > 0, at most what was held) is posted whatever the status, and `completed` posts even nothing;
-- the rest is voided. A run counts on budgets of unit `runs` only when it completed; a limit per minute forgets what an
-- earlier window admitted. The transfer and the event have the id of the audit entry. Answers one word for each item:
-- ok; repeated when this very settlement was written before (its answer was lost with the connection); expired when the
-- sweeper had already given the hold back. Nothing is written for the last two.
create or replace function invocations_settle(items invocation_settlement[], topic text) returns text[]
language plpgsql security definer
set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_bitmapscan = off
as $$
#variable_conflict use_variable
declare
  moment timestamptz := clock_timestamp();
  outcomes text[];
  organization_ids uuid[];
  held_by uuid[];
  paid_to uuid[];
  amounts bigint[];
  posted bigint[];
  token_counts bigint[];
  posted_tokens bigint[];
  posted_runs smallint[];
  placed timestamptz[];
  details jsonb[];  -- what each hold tells of its invocation
  budget_items integer[];
  budget_ids uuid[];
  -- Mostly all calls of a batch have one payer and one set of budgets; then their sums are all that is needed.
  sets bigint;
  first_budget_ids uuid[];
  total record;
  change record;
  changed bigint;
  later uuid[] := '{}';
  counted record;
begin
  -- Every hold is closed by whoever changes its state first: this, a repeat of this, or the sweeper. It is looked up by
  -- its id and by nothing that another index holds (an open one has no `closed_at`), and only here.
  with closed as (
    update holds h
       set state = case when i.cost > 0 or i.status = 'completed' then 'posted' else 'voided' end,
           posted_amount = least(i.cost, h.amount), posted_tokens = least(i.input_tokens + i.output_tokens, h.tokens),
           posted_runs = case when i.status = 'completed' then 1 else 0 end, closed_at = moment
      from unnest(items) with ordinality as i
     where h.organization_id = i.organization_id and h.id = i.id and h.closed_at is null
    returning i.ordinality, h.organization_id, h.debit_account_id, h.credit_account_id, h.amount, h.posted_amount,
              h.tokens, h.posted_tokens, h.posted_runs, h.budget_ids, h.created_at, h.details),
  sets as (
    select c.budget_ids from closed c
     group by c.organization_id, c.debit_account_id, c.credit_account_id, c.budget_ids),
  reserved as (
    select c.ordinality, u.budget_id from closed c cross join lateral unnest(c.budget_ids) as u (budget_id))
  select array_agg(i.outcome), array_agg(i.organization_id), array_agg(i.debit_account_id),
         array_agg(i.credit_account_id), array_agg(i.amount), array_agg(i.posted_amount), array_agg(i.tokens),
         array_agg(i.posted_tokens), array_agg(i.posted_runs), array_agg(i.created_at), array_agg(i.details),
         (select count(*) from sets), (select s.budget_ids from sets s limit 1),
         case when (select count(*) from sets) > 1
              then (select array_agg(r.ordinality::integer order by r.ordinality, r.budget_id) from reserved r) end,
         case when (select count(*) from sets) > 1
              then (select array_agg(r.budget_id order by r.ordinality, r.budget_id) from reserved r) end
    into outcomes, organization_ids, held_by, paid_to, amounts, posted, token_counts, posted_tokens, posted_runs,
         placed, details, sets, first_budget_ids, budget_items, budget_ids
    from (select i.organization_id, c.debit_account_id, c.credit_account_id, c.amount, c.posted_amount, c.tokens,
                 c.posted_tokens, c.posted_runs, c.created_at, c.details,
                 case when c.ordinality is not null then 'ok'
                      when exists (select from invocations v where v.organization_id = i.organization_id
                                      and v.id = i.id and v.audit_id = i.audit_id) then 'repeated'
                      else 'expired' end as outcome
            from unnest(items) with ordinality as i left join closed c on c.ordinality = i.ordinality
           order by i.ordinality) as i;

  -- What the locks below need not protect comes before them: they stay until this is on disk.
  with ended as (
    insert into invocations as v (
      organization_id, id, hold_id, kind, target_kind, target_name, subject, membership_id, virtual_key_id, session_name,
      status, decision, error_code, provider, model, input_tokens, output_tokens, cost_micros, latency_ms,
      first_token_ms, findings, input_hash, output_hash, audit_id, finished_at, requested_model, cached_tokens,
      reasoning_tokens, cache_hit, cache_savings_micros, raw_cost_micros, decision_id, context)
    select i.organization_id, i.id, i.id, d.kind, d.target_kind, d.target_name, d.subject, d.membership_id,
           d.virtual_key_id, d.session_name, i.status, i.decision, i.error_code, i.provider, i.model, i.input_tokens,
           i.output_tokens, posted[i.ordinality], i.latency, i.first_token, i.findings::jsonb, i.input_hash,
           i.output_hash, i.audit_id, moment, left(i.requested_model, 256), i.cached_tokens, i.reasoning_tokens,
           i.cache_hit, i.cache_savings, i.raw_cost, i.decision_id, i.context::jsonb
      from unnest(items) with ordinality as i cross join lateral invocations_of_details(details[i.ordinality]) as d
     where outcomes[i.ordinality] = 'ok'
    returning v.organization_id, v.id, v.status, v.decision, coalesce(v.requested_model, v.target_name) as requested,
              v.model, v.virtual_key_id,
              case when v.kind = 'agent_run' and v.status = 'completed' then v.input_tokens + v.output_tokens end
                as run_tokens)
  select array_agg(e.organization_id) as organization_ids, array_agg(e.id) as ids, array_agg(e.status) as statuses,
         array_agg(e.decision) as decisions, array_agg(e.requested) as requested, array_agg(e.model) as models,
         array_agg(e.virtual_key_id) as virtual_key_ids, array_agg(e.run_tokens) as run_tokens
    into counted from ended e;

  insert into transfers (organization_id, id, ledger, debit_account_id, credit_account_id, amount, kind, hold_id,
                         reference, created_at)
  select i.organization_id, i.audit_id, 'usd_micros', held_by[i.ordinality], paid_to[i.ordinality],
         posted[i.ordinality], 'invocation', i.id, i.id::text, moment
    from unnest(items) with ordinality as i where posted[i.ordinality] > 0;

  insert into outbox_events (organization_id, id, topic, payload, created_at)
  select i.organization_id, i.audit_id, topic, i.event_payload::jsonb, moment
    from unnest(items) with ordinality as i where outcomes[i.ordinality] = 'ok';

  -- In the order of their keys: two processes that change the same accounts must not wait for each other.
  if sets = 1 then
    select i.organization_id, i.debit, i.credit, sum(i.amount) over ()::bigint as amount,
           sum(i.posted) over ()::bigint as posted, sum(i.tokens) over ()::bigint as tokens,
           sum(i.posted_tokens) over ()::bigint as posted_tokens, sum(i.posted_runs) over ()::bigint as posted_runs,
           count(*) over () as runs, min(i.placed) over () as first_placed
      into total
      from unnest(organization_ids, held_by, paid_to, amounts, posted, token_counts, posted_tokens, posted_runs, placed)
           as i (organization_id, debit, credit, amount, posted, tokens, posted_tokens, posted_runs, placed)
     where i.debit is not null limit 1;
    if total.debit < total.credit or total.posted = 0 then
      update accounts a set balance = a.balance - total.posted, held = a.held - total.amount
       where a.organization_id = total.organization_id and a.id = total.debit;
    end if;
    if total.posted > 0 then
      update accounts a set balance = a.balance + total.posted
       where a.organization_id = total.organization_id and a.id = total.credit;
      if total.credit < total.debit then
        update accounts a set balance = a.balance - total.posted, held = a.held - total.amount
         where a.organization_id = total.organization_id and a.id = total.debit;
      end if;
    end if;
    update budgets b
       set held = b.held - case b.unit when 'requests' then 0 when 'runs' then total.runs
                                       when 'tokens' then total.tokens else total.amount end,
           spent = b.spent + case b.unit when 'requests' then 0 when 'runs' then total.posted_runs
                                         when 'tokens' then total.posted_tokens else total.posted end
     where b.organization_id = total.organization_id and b.id = any (first_budget_ids)
       and (b.period <> 'minute' or b.period_start <= total.first_placed);
    get diagnostics changed = row_count;
    if changed < cardinality(first_budget_ids) then
      later := array(select b.id from budgets b
                      where b.organization_id = total.organization_id and b.id = any (first_budget_ids)
                        and b.period = 'minute' and b.period_start > total.first_placed);
    end if;
  else
    for change in
      select i.organization_id, i.account_id, sum(i.moved)::bigint as moved, sum(i.released)::bigint as released
        from (select u.organization_id, u.debit as account_id, -u.posted as moved, u.amount as released
                from unnest(organization_ids, held_by, amounts, posted)
                     as u (organization_id, debit, amount, posted)
              union all
              select u.organization_id, u.credit, u.posted, 0
                from unnest(organization_ids, paid_to, posted) as u (organization_id, credit, posted)
               where u.posted > 0) as i
       where i.account_id is not null group by 1, 2 order by 1, 2
    loop
      update accounts a set balance = a.balance + change.moved, held = a.held - change.released
       where a.organization_id = change.organization_id and a.id = change.account_id;
    end loop;

    for change in
      select g.organization_id, array_agg(g.budget_id order by g.budget_id) as ids,
             array_agg(g.runs order by g.budget_id) as runs, array_agg(g.tokens order by g.budget_id) as tokens,
             array_agg(g.amount order by g.budget_id) as amounts,
             array_agg(g.posted_runs order by g.budget_id) as posted_runs,
             array_agg(g.posted_tokens order by g.budget_id) as posted_tokens,
             array_agg(g.posted_amount order by g.budget_id) as posted_amounts,
             array_agg(g.first_placed order by g.budget_id) as first_placed
        from (select organization_ids[u.item] as organization_id, u.budget_id, count(*) as runs,
                     sum(token_counts[u.item])::bigint as tokens, sum(amounts[u.item])::bigint as amount,
                     sum(posted_runs[u.item])::bigint as posted_runs,
                     sum(posted_tokens[u.item])::bigint as posted_tokens, sum(posted[u.item])::bigint as posted_amount,
                     min(placed[u.item]) as first_placed
                from unnest(budget_items, budget_ids) as u (item, budget_id) group by 1, 2) as g
       group by 1 order by 1
    loop
      with done as (
        update budgets b
           set held = b.held - case b.unit when 'requests' then 0
                                           when 'runs' then change.runs[array_position(change.ids, b.id)]
                                           when 'tokens' then change.tokens[array_position(change.ids, b.id)]
                                           else change.amounts[array_position(change.ids, b.id)] end,
               spent = b.spent + case b.unit when 'requests' then 0
                                             when 'runs' then change.posted_runs[array_position(change.ids, b.id)]
                                             when 'tokens' then change.posted_tokens[array_position(change.ids, b.id)]
                                             else change.posted_amounts[array_position(change.ids, b.id)] end
         where b.organization_id = change.organization_id and b.id = any (change.ids)
           and (b.period <> 'minute' or b.period_start <= change.first_placed[array_position(change.ids, b.id)])
        returning b.id)
      select later || array(select unnest(change.ids) except select d.id from done d) into later;
    end loop;
  end if;
  if later <> '{}' then
    -- Limits per minute, in a later window than that of some of the holds.
    update budgets b
       set held = b.held - case b.unit when 'runs' then kept.runs when 'tokens' then kept.tokens else kept.amount end,
           spent = b.spent + case b.unit when 'runs' then kept.posted_runs when 'tokens' then kept.posted_tokens
                                         else kept.posted_amount end
      from (select w.organization_id, w.id, count(*) as runs, sum(h.tokens)::bigint as tokens,
                   sum(h.amount)::bigint as amount, sum(h.posted_runs)::bigint as posted_runs,
                   sum(h.posted_tokens)::bigint as posted_tokens, sum(h.posted_amount)::bigint as posted_amount
              from unnest(items) with ordinality as i
              join holds h on h.organization_id = i.organization_id and h.id = i.id
             cross join lateral unnest(h.budget_ids) as u (budget_id)
              join budgets w on w.organization_id = h.organization_id and w.id = u.budget_id
             where outcomes[i.ordinality] = 'ok' and w.id = any (later) and w.unit <> 'requests'
               and h.created_at >= w.period_start
             group by 1, 2) as kept
     where b.organization_id = kept.organization_id and b.id = kept.id;
  end if;

  perform invocations_count_traces(counted.organization_ids, counted.ids, counted.statuses, counted.decisions,
                                   counted.requested, counted.models, counted.virtual_key_ids, counted.run_tokens);

  insert into run_counts as c (organization_id, agent_id, runs)
  select i.organization_id, i.run_agent, count(*) from unnest(items) with ordinality as i
   where i.run_agent is not null and outcomes[i.ordinality] = 'ok' group by 1, 2 order by 1, 2
  on conflict (organization_id, agent_id) do update set runs = c.runs + excluded.runs;

  -- Last, since its lock is each organisation's narrowest place. Entries stay in the order of the batch.
  perform audit_append(
            array_agg(i.organization_id order by i.ordinality), array_agg(i.audit_id order by i.ordinality),
            array_agg(i.audit_chain order by i.ordinality), array_agg(i.audit_body order by i.ordinality),
            array_agg(i.audit_action order by i.ordinality), array_agg(i.audit_actor order by i.ordinality),
            array_agg(i.run_agent order by i.ordinality))
     from unnest(items) with ordinality as i where outcomes[i.ordinality] = 'ok' having count(*) > 0;

  return outcomes;
end $$;
alter function invocations_settle owner to bailiwick_system;
revoke execute on function invocations_settle from public;
grant execute on function invocations_settle to bailiwick_app;
