-- Admits calls of one caller, one call most of the time, as `invocations_admit` does those of several: the same words,
-- the same rows, the same order of locks (account, then budgets by id), at half the price. `total_amount` and
-- `total_tokens` are those of all calls, whose `caller` is 1. It only knows how to say yes: as soon as something is in the
-- way, what was reserved is given back and the other function decides call by call, within the same transaction.
create or replace function invocations_admit_same(
  organization uuid,
  organization_version bigint,
  session uuid,
  membership uuid,
  credential_key uuid,
  virtual_key uuid,
  account uuid,
  sink uuid,
  subject text,
  budgets_held uuid[],
  total_amount bigint,
  total_tokens bigint,
  calls invocation_call[],
  lease_seconds integer
) returns text[]
language plpgsql security definer
set search_path = pg_catalog, public
as $$
#variable_conflict use_variable
declare
  moment timestamptz := clock_timestamp();
  reserved record;
  is_clear boolean;
  uses integer := cardinality(calls);
begin
  select o.version = organization_version and o.deleted_at is null
         and not exists (select from installation_kill_switches where lifted_at is null)
         and not exists (select from kill_switches s where s.organization_id = organization and s.lifted_at is null)
    into is_clear
    from organizations o where o.id = organization;
  if is_clear and credential_key is not null then
    select k.revoked_at is null and (k.expires_at is null or k.expires_at > moment) into is_clear
      from virtual_keys k where k.organization_id = organization and k.id = credential_key;
    if not found then
      select k.revoked_at is null and (k.expires_at is null or k.expires_at > moment) into is_clear
        from api_keys k where k.organization_id = organization and k.id = credential_key;
    end if;
  end if;
  if is_clear and virtual_key is distinct from credential_key and virtual_key is not null then
    select k.revoked_at is null and (k.expires_at is null or k.expires_at > moment) into is_clear
      from virtual_keys k where k.organization_id = organization and k.id = virtual_key;
  end if;
  if is_clear and session is not null then
    select s.revoked_at is null and s.expires_at > moment into is_clear
      from sessions s where s.id = session and s.organization_id = organization;
  end if;
  if is_clear and membership is not null then
    select m.removed_at is null into is_clear
      from memberships m where m.organization_id = organization and m.id = membership;
  end if;
  if is_clear then
    update accounts a set held = a.held + total_amount
     where a.organization_id = organization and a.id = account and a.closed_at is null
       and (a.floor is null or a.balance - a.held - a.floor >= total_amount);
    is_clear := found;
  end if;
  if is_clear then
    with done as (
      update budgets b
         set held = b.held + case b.unit when 'usd_micros' then total_amount when 'tokens' then total_tokens
                                         when 'runs' then uses else 0 end,
             spent = b.spent + case b.unit when 'requests' then uses else 0 end
       where b.organization_id = organization and b.id = any (budgets_held)
         and (b.period not in ('minute', 'day', 'month')
              or b.period_end > clock_timestamp() and (b.period <> 'minute' or b.period_start <= clock_timestamp()))
         and b.limit_amount - b.spent - b.held
             >= case b.unit when 'usd_micros' then total_amount when 'tokens' then total_tokens else uses end
      returning b.id, case when b.period = 'minute' then b.period_start end as window_start,
                -- 2⁶² and more is no ceiling: such a budget only counts.
                case when b.unit = 'usd_micros' and b.limit_amount < 4611686018427387904
                     then array[b.limit_amount - b.spent - b.held, b.limit_amount] end as ceiling)
    select count(*) as number, array_agg(d.id) as ids, max(d.window_start) as latest_start, min(d.ceiling) as narrowest
      into reserved from done d;
    is_clear := reserved.number = cardinality(budgets_held);
    if not is_clear then
      update accounts a set held = a.held - total_amount where a.organization_id = organization and a.id = account;
      update budgets b
         set held = b.held - case b.unit when 'usd_micros' then total_amount when 'tokens' then total_tokens
                                         when 'runs' then uses else 0 end,
             spent = b.spent - case b.unit when 'requests' then uses else 0 end
       where b.organization_id = organization and b.id = any (reserved.ids);
    end if;
  end if;
  if is_clear is not true then
    return invocations_admit(
      array[row(organization, organization_version, session, membership, credential_key, virtual_key, account, sink,
                subject, budgets_held)::invocation_caller],
      calls, lease_seconds);
  end if;

  -- It is now, under the locks, and never before the windows that this counts in began.
  moment := greatest(clock_timestamp(), reserved.latest_start);
  insert into holds (organization_id, id, ledger, debit_account_id, credit_account_id, amount, tokens, budget_ids, kind,
                     details, lease_expires_at, created_at)
  select organization, c.id, 'usd_micros', account, sink, c.amount, c.tokens, budgets_held, 'invocation',
         invocations_details(c, subject, membership, virtual_key), moment + make_interval(secs => lease_seconds), moment
    from unnest(calls) as c;
  return array_fill(case when reserved.narrowest is null then 'ok'
                         else 'ok:' || reserved.narrowest[1] || ':' || reserved.narrowest[2] end, array[uses]);
end $$;
alter function invocations_admit_same owner to bailiwick_system;
revoke execute on function invocations_admit_same from public;
grant execute on function invocations_admit_same to bailiwick_app;
