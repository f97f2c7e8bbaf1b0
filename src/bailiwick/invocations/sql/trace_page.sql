-- The list of traces. A trace is an invocation whose id lies within the bounds and which has what each `wanted` argument
-- says (null: anything); one under way counts as BYPASS.
--
-- Bounds are milliseconds of the Unix epoch, which ids begin with: from <= id < until.

-- The smallest id of a millisecond.
create or replace function invocations_first_id(millisecond bigint) returns uuid
language sql immutable parallel safe as
$$ select (lpad(to_hex(millisecond), 12, '0') || repeat('0', 20))::uuid $$;

-- The invocations of an organisation that are under way. These have an open hold, and nothing else has; few do. They are
-- looked for among the open holds of all organisations, which have an index of their own, and not by the organisation,
-- whose closed ones are many: hence the comparison that no index answers, and the role that sees all.
create or replace function invocations_under_way(organization uuid) returns setof invocations
language plpgsql stable security definer
set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  if current_setting('role') <> 'bailiwick_system' and organization is distinct from bailiwick_organization() then
    raise exception 'the transaction is not that of organisation %', organization using errcode = 'insufficient_privilege';
  end if;
  return query
  select v.* from holds h
    join invocations v on v.organization_id = h.organization_id
                      and v.id = case h.kind when 'invocation' then h.reference::uuid end
   where h.state = 'open' and (h.organization_id = organization) is true;
end $$;
alter function invocations_under_way owner to bailiwick_system;
revoke execute on function invocations_under_way from public;
grant execute on function invocations_under_way to bailiwick_app, bailiwick_system;

-- How many traces began in each hour within the bounds, newest first; hours without any are left out. Whole hours come
-- from `trace_counts` and from `under_way` (the hours in which invocations under way began), those that a bound cuts
-- from the rows.
create or replace function invocations_trace_hours(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, under_way integer[]
) returns table (hour integer, traces bigint)
language plpgsql stable
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  hour_ms constant bigint := 3600000;
  whole integer := (from_ms + hour_ms - 1) / hour_ms;  -- the first whole hour
  cut integer := until_ms / hour_ms;  -- behind the last one
  bounds bigint[] := array[[from_ms, least(whole * hour_ms, until_ms)],
                           [case when cut >= whole then cut * hour_ms else until_ms end, until_ms]];
  i integer;
begin
  for i in reverse 2 .. 1 loop
    if bounds[i][1] < bounds[i][2] then
      return query
      select (bounds[i][1] / hour_ms)::integer, count(*) from invocations v
       where v.organization_id = organization
         and v.id >= invocations_first_id(bounds[i][1]) and v.id < invocations_first_id(bounds[i][2])
         and (wanted_decision is null or coalesce(v.decision, 'BYPASS') = wanted_decision)
         and (wanted_model is null or coalesce(v.requested_model, v.target_name) = wanted_model or v.model = wanted_model)
         and (wanted_status is null or v.status = wanted_status)
         and (wanted_key is null or v.virtual_key_id = wanted_key)
      having count(*) > 0;
    end if;
    if i = 2 then
      return query
      select part.hour, sum(part.traces)::bigint
        from (select c.start_hour as hour, c.traces from trace_counts c
               where c.organization_id = organization and c.span_hours = 1 and c.start_hour >= whole
                 and c.start_hour < cut
                 and (wanted_decision is null or c.decision = wanted_decision)
                 and (wanted_model is null or c.requested_model = wanted_model or c.routed_model = wanted_model)
                 and (wanted_status is null or c.status = wanted_status)
                 and (wanted_key is null or c.virtual_key_id = wanted_key)
              union all
              select u.hour, 1 from unnest(under_way) as u (hour) where u.hour >= whole and u.hour < cut) as part
       group by part.hour order by part.hour desc;
    end if;
  end loop;
end $$;

-- One page, newest first: how many traces match in all, and the ids of the page. Whole days are counted by their counts,
-- the rest by hours; then only the hours of the page are read. With a session, its own index is read instead.
-- Stable: all that it reads is of one snapshot, so that page and total agree.
create or replace function invocations_trace_page(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, wanted_session text,
  skipped bigint, at_most integer,
  out total bigint, out ids uuid[]
)
language plpgsql stable
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  day_ms constant bigint := 86400000;
  hour_ms constant bigint := 3600000;
  whole integer := (from_ms + day_ms - 1) / day_ms;  -- the first whole day
  cut integer := until_ms / day_ms;  -- behind the last one
  under_way integer[];
  part record;
  of_hour record;
begin
  total := 0;
  ids := '{}';
  if from_ms >= until_ms then
    return;
  end if;

  if wanted_session is not null then
    select count(*) into total from invocations v
     where v.organization_id = organization and v.session_name = wanted_session
       and v.id >= invocations_first_id(from_ms) and v.id < invocations_first_id(until_ms)
       and (wanted_decision is null or coalesce(v.decision, 'BYPASS') = wanted_decision)
       and (wanted_model is null or coalesce(v.requested_model, v.target_name) = wanted_model or v.model = wanted_model)
       and (wanted_status is null or v.status = wanted_status)
       and (wanted_key is null or v.virtual_key_id = wanted_key);
    ids := array(
      select v.id from invocations v
       where v.organization_id = organization and v.session_name = wanted_session
         and v.id >= invocations_first_id(from_ms) and v.id < invocations_first_id(until_ms)
         and (wanted_decision is null or coalesce(v.decision, 'BYPASS') = wanted_decision)
         and (wanted_model is null or coalesce(v.requested_model, v.target_name) = wanted_model or v.model = wanted_model)
         and (wanted_status is null or v.status = wanted_status)
         and (wanted_key is null or v.virtual_key_id = wanted_key)
       order by v.id desc offset skipped limit at_most);
    return;
  end if;

  if coalesce(wanted_decision, 'BYPASS') = 'BYPASS' and coalesce(wanted_status, 'started') = 'started' then
    under_way := array(
      select invocations_hour_of(v.id)
        from invocations_under_way(organization) v
       where v.id >= invocations_first_id(from_ms) and v.id < invocations_first_id(until_ms)
         and (wanted_decision is null or coalesce(v.decision, 'BYPASS') = wanted_decision)
         and (wanted_model is null or coalesce(v.requested_model, v.target_name) = wanted_model or v.model = wanted_model)
         and (wanted_status is null or v.status = wanted_status)
         and (wanted_key is null or v.virtual_key_id = wanted_key));
  end if;

  for part in
    -- The day or days that a bound cuts, the whole days between them.
    select case when cut >= whole then cut * day_ms else until_ms end as from_ms, until_ms as until_ms,
           null::bigint as traces where cut >= whole and cut * day_ms < until_ms
    union all
    (select d.day * day_ms, (d.day + 1) * day_ms, sum(d.traces)::bigint
       from (select c.start_hour / 24 as day, c.traces from trace_counts c
              where c.organization_id = organization and c.span_hours = 24 and c.start_hour >= whole * 24
                and c.start_hour < cut * 24
                and (wanted_decision is null or c.decision = wanted_decision)
                and (wanted_model is null or c.requested_model = wanted_model or c.routed_model = wanted_model)
                and (wanted_status is null or c.status = wanted_status)
                and (wanted_key is null or c.virtual_key_id = wanted_key)
             union all
             select u.hour / 24, 1 from unnest(under_way) as u (hour)
              where u.hour / 24 >= whole and u.hour / 24 < cut) as d
      group by d.day order by d.day desc)
    union all
    select from_ms, least(whole * day_ms, until_ms), null where from_ms < least(whole * day_ms, until_ms)
  loop
    if part.traces is null or (skipped < part.traces and cardinality(ids) < at_most) then
      for of_hour in
        select h.hour, h.traces
          from invocations_trace_hours(organization, part.from_ms, part.until_ms, wanted_decision, wanted_model,
                                       wanted_status, wanted_key, under_way) as h
      loop
        total := total + of_hour.traces;
        if cardinality(ids) >= at_most then
          continue;
        elsif skipped >= of_hour.traces then
          skipped := skipped - of_hour.traces;
          continue;
        end if;
        ids := ids || array(
          select v.id from invocations v
           where v.organization_id = organization
             and v.id >= greatest(invocations_first_id(from_ms), invocations_first_id(of_hour.hour * hour_ms))
             and v.id < least(invocations_first_id(until_ms), invocations_first_id((of_hour.hour + 1) * hour_ms))
             and (wanted_decision is null or coalesce(v.decision, 'BYPASS') = wanted_decision)
             and (wanted_model is null or coalesce(v.requested_model, v.target_name) = wanted_model or v.model = wanted_model)
             and (wanted_status is null or v.status = wanted_status)
             and (wanted_key is null or v.virtual_key_id = wanted_key)
           order by v.id desc offset skipped limit at_most - cardinality(ids));
        skipped := 0;
      end loop;
    else
      total := total + part.traces;
      skipped := greatest(skipped - part.traces, 0);
    end if;
  end loop;
end $$;
grant execute on function invocations_trace_hours, invocations_trace_page to bailiwick_app;
