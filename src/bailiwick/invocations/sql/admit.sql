-- Admits invocations: checks once more who calls, and reserves what each may cost. The hold, which has the id of the
-- invocation, is all that is written of one under way; its row is written once, when it ends. A refusal ends it here.
--
-- Most calls of a batch have a caller in common, so callers are told once; `calls[i].caller` is the place of its caller in
-- `callers`, and each of its calls reserves all of `budget_ids` there. Answers one word for each call:
--   ok, ok:<left>:<limit>  reserved; of its budgets of money, the one with the least left in micro-dollars
--   stale                  the organisation has changed since the caller read it: read again, try again
--                          (also when the key that pays was revoked, and when the day or month of a budget has
--                          ended: there may be another)
--   organization_inactive, session_revoked, key_revoked
--   killed                 a kill switch is engaged for the key, the agent, the organisation or everything
--   insufficient_funds     the account does not hold the amount
--   allowance_exhausted    a budget of runs does not hold it
--   hard_cap_exceeded:<budget id>        a budget of the whole organisation does not
--   budget_exceeded:<budget id>          any other budget does not
--   rate_limited:<budget id>:<seconds>   a limit per minute does not until its window ends, so many seconds from now
-- Money is decided by one update of each account, in the order of their keys, and then one of each organisation's
-- budgets. Where everything fits, that is all. As soon as something does not, what
-- was reserved is given back, and items are decided one by one in their order, so that one that does not fit stands in no
-- other's way.
create or replace function invocations_admit(
  callers invocation_caller[], calls invocation_call[], lease_seconds integer
) returns text[]
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
  outcomes text[];
  organization_ids uuid[];
  account_ids uuid[];
  budget_callers integer[];
  budget_ids uuid[];
  caller_amounts bigint[];
  caller_tokens bigint[];
  caller_uses bigint[];
  moment timestamptz := clock_timestamp();
  all_fit boolean := true;
  latest_start timestamptz;
  first_end timestamptz;
  need record;
  item record;
  refusal text;
  reserved record;
  reserved_accounts uuid[] := '{}';
  reserved_budgets uuid[] := '{}';
  narrowest record;
  money_ids uuid[] := '{}';
  money_left bigint[] := '{}';
  money_limits bigint[] := '{}';
begin
  select array_agg(
    case
      when o.id is null or o.deleted_at is not null then 'organization_inactive'
      when i.session_id is not null
           and (s.id is null or s.revoked_at is not null or s.expires_at <= moment) then 'session_revoked'
      when i.membership_id is not null and (m.id is null or m.removed_at is not null) then 'session_revoked'
      when i.credential_key_id is not null
           and (coalesce(a.id, c.id) is null or coalesce(a.revoked_at, c.revoked_at) is not null
                or coalesce(a.expires_at, c.expires_at) <= moment) then 'key_revoked'
      when o.version <> i.version then 'stale'
      when i.virtual_key_id is not null
           and (k.id is null or k.revoked_at is not null or k.expires_at <= moment) then 'stale'
      else 'ok'
    end order by i.ordinality),
    array_agg(i.organization_id order by i.ordinality), array_agg(i.account_id order by i.ordinality)
  into outcomes /* of the callers */, organization_ids, account_ids
  from unnest(callers) with ordinality as i
  left join organizations o on o.id = i.organization_id
  left join sessions s on s.id = i.session_id and s.organization_id = i.organization_id
  left join memberships m on m.organization_id = i.organization_id and m.id = i.membership_id
  left join api_keys a on a.organization_id = i.organization_id and a.id = i.credential_key_id
  left join virtual_keys c on c.organization_id = i.organization_id and c.id = i.credential_key_id
  left join virtual_keys k on k.organization_id = i.organization_id and k.id = i.virtual_key_id;
  outcomes := array(select outcomes[i.caller] from unnest(calls) with ordinality as i order by i.ordinality);
  select array_agg(i.ordinality), array_agg(u.budget_id) into budget_callers, budget_ids
    from unnest(callers) with ordinality as i cross join lateral unnest(i.budget_ids) as u (budget_id);

  if exists (select from installation_kill_switches where lifted_at is null)
     or exists (select from kill_switches s where s.organization_id = any (organization_ids) and s.lifted_at is null)
  then
    outcomes := array(
      select case when outcomes[i.ordinality] = 'ok' and invocations_is_killed(
                         c.organization_id, c.credential_key_id, c.virtual_key_id, i.target_kind, i.target_name)
                  then 'killed' else outcomes[i.ordinality] end
        from unnest(calls) with ordinality as i join unnest(callers) with ordinality as c on c.ordinality = i.caller
       order by i.ordinality);
  end if;

  select array_agg(coalesce(g.amount, 0) order by c.number), array_agg(coalesce(g.tokens, 0) order by c.number),
         array_agg(coalesce(g.uses, 0) order by c.number)
    into caller_amounts, caller_tokens, caller_uses
    from generate_subscripts(organization_ids, 1) as c (number)
    left join (select i.caller, sum(i.amount)::bigint as amount, sum(i.tokens)::bigint as tokens, count(*) as uses
                 from unnest(calls) with ordinality as i
                where outcomes[i.ordinality] = 'ok' group by 1) as g on g.caller = c.number;

  for need in
    select organization_ids[c.number] as organization_id, account_ids[c.number] as account_id,
           sum(caller_amounts[c.number])::bigint as amount
      from generate_subscripts(organization_ids, 1) as c (number)
     where caller_uses[c.number] > 0 group by 1, 2 order by 1, 2
  loop
    update accounts a set held = a.held + need.amount
     where a.organization_id = need.organization_id and a.id = need.account_id and a.closed_at is null
       and (a.floor is null or a.balance - a.held - a.floor >= need.amount);
    all_fit := found;
    exit when not all_fit;
    reserved_accounts := reserved_accounts || need.account_id;
  end loop;
  if all_fit then
    for need in
      select g.organization_id, array_agg(g.budget_id order by g.budget_id) as ids,
             array_agg(g.amount order by g.budget_id) as amounts, array_agg(g.tokens order by g.budget_id) as tokens,
             array_agg(g.uses order by g.budget_id) as uses
        from (select organization_ids[u.caller] as organization_id, u.budget_id,
                     sum(caller_amounts[u.caller])::bigint as amount, sum(caller_tokens[u.caller])::bigint as tokens,
                     sum(caller_uses[u.caller])::bigint as uses
                from unnest(budget_callers, budget_ids) as u (caller, budget_id)
               where caller_uses[u.caller] > 0 group by 1, 2) as g
       group by 1 order by 1
    loop
      with done as (
        update budgets b
           set held = b.held + case b.unit when 'runs' then need.uses[array_position(need.ids, b.id)]
                                           when 'tokens' then need.tokens[array_position(need.ids, b.id)]
                                           when 'requests' then 0
                                           else need.amounts[array_position(need.ids, b.id)] end,
               spent = b.spent + case b.unit when 'requests' then need.uses[array_position(need.ids, b.id)] else 0 end
         where b.organization_id = need.organization_id and b.id = any (need.ids)
           and (b.period not in ('minute', 'day', 'month')
                or b.period_end > clock_timestamp() and (b.period <> 'minute' or b.period_start <= clock_timestamp()))
           and b.limit_amount - b.spent - b.held
               >= case when b.unit in ('runs', 'requests') then need.uses[array_position(need.ids, b.id)]
                       when b.unit = 'tokens' then need.tokens[array_position(need.ids, b.id)]
                       else need.amounts[array_position(need.ids, b.id)] end
        returning b.id, b.period, b.period_start, b.limit_amount, b.limit_amount - b.spent - b.held as amount,
                  -- 2⁶² and more is no ceiling: such a budget only counts.
                  b.unit = 'usd_micros' and b.limit_amount < 4611686018427387904 as is_ceiling)
      select coalesce(array_agg(d.id), '{}') as ids,
             max(d.period_start) filter (where d.period = 'minute') as latest_start,
             coalesce(array_agg(d.id) filter (where d.is_ceiling), '{}') as money_ids,
             coalesce(array_agg(d.amount) filter (where d.is_ceiling), '{}') as money_left,
             coalesce(array_agg(d.limit_amount) filter (where d.is_ceiling), '{}') as money_limits
        into reserved from done d;
      reserved_budgets := reserved_budgets || reserved.ids;
      if cardinality(reserved.ids) < cardinality(need.ids) then
        all_fit := false;
        exit;
      end if;
      latest_start := greatest(latest_start, reserved.latest_start);
      money_ids := money_ids || reserved.money_ids;
      money_left := money_left || reserved.money_left;
      money_limits := money_limits || reserved.money_limits;
    end loop;
  end if;
  -- From here on it is now, under the locks, and never before the windows that this counts in began.
  moment := greatest(clock_timestamp(), latest_start);

  if not all_fit then
    update accounts a set held = a.held - back.amount
      from (select organization_ids[c.number] as organization_id, account_ids[c.number] as account_id,
                   sum(caller_amounts[c.number])::bigint as amount
              from generate_subscripts(organization_ids, 1) as c (number)
             where caller_uses[c.number] > 0 and account_ids[c.number] = any (reserved_accounts) group by 1, 2) as back
     where a.organization_id = back.organization_id and a.id = back.account_id;
    update budgets b
       set held = b.held - case b.unit when 'runs' then back.uses when 'tokens' then back.tokens
                                       when 'requests' then 0 else back.amount end,
           spent = b.spent - case b.unit when 'requests' then back.uses else 0 end
      from (select organization_ids[u.caller] as organization_id, u.budget_id,
                   sum(caller_amounts[u.caller])::bigint as amount, sum(caller_tokens[u.caller])::bigint as tokens,
                   sum(caller_uses[u.caller])::bigint as uses
              from unnest(budget_callers, budget_ids) as u (caller, budget_id)
             where caller_uses[u.caller] > 0 and u.budget_id = any (reserved_budgets) group by 1, 2) as back
     where b.organization_id = back.organization_id and b.id = back.budget_id;

    perform 1 from accounts a
     where (a.organization_id, a.id) in (
       select organization_ids[c.number], account_ids[c.number]
         from generate_subscripts(organization_ids, 1) as c (number) where caller_uses[c.number] > 0)
     order by a.organization_id, a.id for no key update;
    select max(locked.period_start) filter (where locked.period = 'minute'),
           min(locked.period_end) filter (where locked.period in ('minute', 'day', 'month'))
      into latest_start, first_end
      from (select b.period, b.period_start, b.period_end from budgets b
             where (b.organization_id, b.id) in (
               select organization_ids[u.caller], u.budget_id
                 from unnest(budget_callers, budget_ids) as u (caller, budget_id) where caller_uses[u.caller] > 0)
             order by b.organization_id, b.id for no key update) as locked;

    -- What is decided from here on happens now, under the locks, and never before the windows that it counts in began.
    moment := greatest(clock_timestamp(), latest_start);
    if first_end <= moment then
      update budgets b
         set period_start = moment, period_end = moment + interval '1 minute', spent = 0, held = 0, lowered_from = null
        from (select distinct organization_ids[u.caller] as organization_id, u.budget_id
                from unnest(budget_callers, budget_ids) as u (caller, budget_id) where caller_uses[u.caller] > 0) as i
       where b.organization_id = i.organization_id and b.id = i.budget_id
         and b.period = 'minute' and b.period_end <= moment;
      for item in
        select distinct i.ordinality from unnest(calls) with ordinality as i
          join unnest(budget_callers, budget_ids) as u (caller, budget_id) on u.caller = i.caller
          join budgets b on b.organization_id = organization_ids[u.caller] and b.id = u.budget_id
         where outcomes[i.ordinality] = 'ok' and b.period in ('day', 'month') and b.period_end <= moment
      loop
        outcomes[item.ordinality] := 'stale';
      end loop;
    end if;

    for item in
      select i.ordinality, c.organization_id, c.account_id, i.amount, i.tokens, c.budget_ids as budgets
        from unnest(calls) with ordinality as i join unnest(callers) with ordinality as c on c.ordinality = i.caller
       where outcomes[i.ordinality] = 'ok' order by i.ordinality
    loop
      -- Of several that refuse, the one that will longest.
      select case when b.id is null or b.unit = 'runs' then 'allowance_exhausted'
                  when b.period = 'minute' then
                    format('rate_limited:%s:%s', b.id, ceil(extract(epoch from b.period_end - moment)))
                  when b.scope = 'organization' then 'hard_cap_exceeded:' || b.id
                  else 'budget_exceeded:' || b.id end
        into refusal
        from unnest(item.budgets) as u (budget_id)
        left join budgets b on b.organization_id = item.organization_id and b.id = u.budget_id
       where b.id is null
          or b.spent + b.held + case b.unit when 'runs' then 1 when 'requests' then 1 when 'tokens' then item.tokens
                                            else item.amount end > b.limit_amount
       order by b.period = 'minute' nulls first, b.period_end desc nulls first, b.id limit 1;
      if found then
        outcomes[item.ordinality] := refusal;
        continue;
      end if;
      update accounts a set held = a.held + item.amount
       where a.organization_id = item.organization_id and a.id = item.account_id
         and a.closed_at is null and (a.floor is null or a.balance - a.held - item.amount >= a.floor);
      if not found then
        outcomes[item.ordinality] := 'insufficient_funds';
        continue;
      end if;
      update budgets b
         set held = b.held + case b.unit when 'runs' then 1 when 'tokens' then item.tokens when 'requests' then 0
                                         else item.amount end,
             spent = b.spent + case b.unit when 'requests' then 1 else 0 end
       where b.organization_id = item.organization_id and b.id = any (item.budgets);
    end loop;

    select coalesce(array_agg(b.id), '{}'), array_agg(b.limit_amount - b.spent - b.held), array_agg(b.limit_amount)
      into money_ids, money_left, money_limits
      from (select distinct organization_ids[u.caller] as organization_id, u.budget_id
              from unnest(budget_callers, budget_ids) as u (caller, budget_id) where caller_uses[u.caller] > 0) as i
      join budgets b on b.organization_id = i.organization_id and b.id = i.budget_id
     where b.unit = 'usd_micros' and b.limit_amount < 4611686018427387904;
  end if;

  insert into holds (organization_id, id, ledger, debit_account_id, credit_account_id, amount, tokens, budget_ids, kind,
                     details, lease_expires_at, created_at)
  select c.organization_id, i.id, 'usd_micros', c.account_id, c.sink_id, i.amount, i.tokens, c.budget_ids, 'invocation',
         invocations_details(calls[i.ordinality], c.subject, c.membership_id, c.virtual_key_id),
         moment + make_interval(secs => lease_seconds), moment
    from unnest(calls) with ordinality as i join unnest(callers) with ordinality as c on c.ordinality = i.caller
   where outcomes[i.ordinality] = 'ok';

  insert into invocations (organization_id, id, kind, target_kind, target_name, subject, membership_id, virtual_key_id,
                           session_name, context, status, decision, error_code, finished_at)
  select c.organization_id, i.id, i.kind, i.target_kind, i.target_name, c.subject, c.membership_id, c.virtual_key_id,
         i.session_name, i.context::jsonb, 'refused', 'KILL',
         case o.outcome when 'killed' then 'KILL_SWITCH' else split_part(o.outcome, ':', 1) end, moment
    from unnest(calls) with ordinality as i join unnest(callers) with ordinality as c on c.ordinality = i.caller
   cross join lateral (select outcomes[i.ordinality] as outcome) as o
   where o.outcome not in ('ok', 'stale', 'organization_inactive', 'session_revoked', 'key_revoked');

  if 'ok' <> any (outcomes) then
    perform invocations_count_traces(array_agg(organization_ids[i.caller]), array_agg(i.id))
       from unnest(calls) with ordinality as i where outcomes[i.ordinality] <> 'ok';
  end if;

  if money_ids <> '{}' then
    for narrowest in
      select distinct on (u.caller) u.caller, format('ok:%s:%s', m.amount, m.limit_amount) as outcome
        from unnest(money_ids, money_left, money_limits) as m (id, amount, limit_amount)
        join unnest(budget_callers, budget_ids) as u (caller, budget_id) on u.budget_id = m.id
       order by u.caller, m.amount
    loop
      for item in select i.ordinality from unnest(calls) with ordinality as i where i.caller = narrowest.caller loop
        if outcomes[item.ordinality] = 'ok' then
          outcomes[item.ordinality] := narrowest.outcome;
        end if;
      end loop;
    end loop;
  end if;
  return outcomes;
end $$;
alter function invocations_admit owner to bailiwick_system;
revoke execute on function invocations_admit from public;
grant execute on function invocations_admit to bailiwick_app;
