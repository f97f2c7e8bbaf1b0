-- The list of traces. A trace is an invocation whose id lies within the bounds and which has what each `wanted` argument
-- says (null: anything); one under way counts as BYPASS. `under_way` are the ids of those that have no row yet, as far as
-- they are wanted.
--
-- Bounds are milliseconds of the Unix epoch, which ids begin with: from <= id < until.

-- The smallest id of a millisecond.
create or replace function invocations_first_id(millisecond bigint) returns uuid
language sql immutable parallel safe as
$$ select (lpad(to_hex(millisecond), 12, '0') || repeat('0', 20))::uuid $$;

-- Whether an invocation, and whether what a row of counts counts, has what is wanted. Written so that the planner puts
-- the conditions in the place of the call.
create or replace function invocations_has(
  v invocations, wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid
) returns boolean
language sql immutable parallel safe as
$$ select (wanted_decision is null or coalesce(v.decision, 'BYPASS') = wanted_decision)
      and (wanted_model is null or coalesce(v.requested_model, v.target_name) = wanted_model or v.model = wanted_model)
      and (wanted_status is null or v.status = wanted_status)
      and (wanted_key is null or v.virtual_key_id = wanted_key) $$;

create or replace function trace_counts_has(
  c trace_counts, wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid
) returns boolean
language sql immutable parallel safe as
$$ select (wanted_decision is null or c.decision = wanted_decision)
      and (wanted_model is null or c.requested_model = wanted_model or c.routed_model = wanted_model)
      and (wanted_status is null or c.status = wanted_status)
      and (wanted_key is null or c.virtual_key_id = wanted_key) $$;

-- The traces within bounds that lie in one hour, as far as `trace_counts` lists them, and of `under_way`.
create or replace function invocations_listed(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, under_way uuid[]
) returns setof uuid
language sql stable as
$$ select l.id
     from (select u.id from trace_counts c cross join lateral unnest(c.ids) as u (id)
            where c.organization_id = organization and c.span_hours = 1 and c.start_hour = (from_ms / 3600000)::integer
              and trace_counts_has(c, wanted_decision, wanted_model, wanted_status, wanted_key)
           union all
           select u.id from unnest(under_way) as u (id)) as l
    where l.id >= invocations_first_id(from_ms) and l.id < invocations_first_id(until_ms) $$;

-- How many traces lie within bounds, by the rows and of `under_way`. Planned at each call, so that an index alone answers
-- where nothing but bounds is wanted.
drop function if exists invocations_count_between(uuid, bigint, bigint, text, text, text, uuid);
create or replace function invocations_count_between(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, under_way uuid[]
) returns bigint
language plpgsql stable
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
as $$
begin
  return (select count(*) from invocations v
           where v.organization_id = organization
             and v.id >= invocations_first_id(from_ms) and v.id < invocations_first_id(until_ms)
             and invocations_has(v, wanted_decision, wanted_model, wanted_status, wanted_key))
         + (select count(*) from unnest(under_way) as u (id)
             where u.id >= invocations_first_id(from_ms) and u.id < invocations_first_id(until_ms));
end $$;

-- Some of the `traces` that lie within bounds, newest first, by the rows and of `under_way`: from the nearer end.
drop function if exists invocations_read(uuid, bigint, bigint, text, text, text, uuid, bigint, bigint, bigint);
create or replace function invocations_read(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, under_way uuid[],
  traces bigint, skipped bigint, at_most bigint
) returns uuid[]
language plpgsql stable
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
as $$
declare
  first_id constant uuid := invocations_first_id(from_ms);
  end_id constant uuid := invocations_first_id(until_ms);
begin
  if skipped <= traces / 2 then
    return array(
      select l.id
        from ((select v.id from invocations v
                where v.organization_id = organization and v.id >= first_id and v.id < end_id
                  and invocations_has(v, wanted_decision, wanted_model, wanted_status, wanted_key)
                order by v.id desc limit skipped + at_most)
              union all
              (select u.id from unnest(under_way) as u (id) where u.id >= first_id and u.id < end_id
                order by u.id desc)) as l
       order by l.id desc offset skipped limit at_most);
  end if;
  return array(
    select l.id
      from (select l.id
              from ((select v.id from invocations v
                      where v.organization_id = organization and v.id >= first_id and v.id < end_id
                        and invocations_has(v, wanted_decision, wanted_model, wanted_status, wanted_key)
                      order by v.id limit traces - skipped)
                    union all
                    (select u.id from unnest(under_way) as u (id) where u.id >= first_id and u.id < end_id
                      order by u.id)) as l
             order by l.id offset greatest(traces - skipped - at_most, 0) limit least(traces - skipped, at_most)) as l
     order by l.id desc);
end $$;

-- How many traces began in each hour within the bounds, newest first, and whether all of them are listed; hours without
-- any are left out. Whole hours come from `trace_counts` and from `under_way`; those that a bound cuts from their lists,
-- else from the rows.
drop function if exists invocations_trace_hours(uuid, bigint, bigint, text, text, text, uuid, integer[]);
create or replace function invocations_trace_hours(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, under_way uuid[]
) returns table (hour integer, traces bigint, is_listed boolean)
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
      hour := bounds[i][1] / hour_ms;
      select coalesce(sum(c.traces) = sum(coalesce(cardinality(c.ids), 0)), true) into is_listed
        from trace_counts c
       where c.organization_id = organization and c.span_hours = 1 and c.start_hour = hour
         and trace_counts_has(c, wanted_decision, wanted_model, wanted_status, wanted_key);
      if is_listed then
        select count(*) into traces
          from invocations_listed(organization, bounds[i][1], bounds[i][2], wanted_decision, wanted_model, wanted_status,
                                  wanted_key, under_way);
      else
        traces := invocations_count_between(organization, bounds[i][1], bounds[i][2], wanted_decision, wanted_model,
                                            wanted_status, wanted_key, under_way);
      end if;
      if traces > 0 then
        return next;
      end if;
    end if;
    if i = 2 then
      return query
      select part.hour, sum(part.traces)::bigint, sum(part.traces) = sum(part.listed)
        from (select c.start_hour as hour, c.traces, coalesce(cardinality(c.ids), 0) as listed from trace_counts c
               where c.organization_id = organization and c.span_hours = 1 and c.start_hour >= whole
                 and c.start_hour < cut
                 and trace_counts_has(c, wanted_decision, wanted_model, wanted_status, wanted_key)
              union all
              select invocations_hour_of(u.id), 1, 1 from unnest(under_way) as u (id)
               where invocations_hour_of(u.id) >= whole and invocations_hour_of(u.id) < cut) as part
       group by part.hour order by part.hour desc;
    end if;
  end loop;
end $$;

-- One page of a session's traces, by its own index and of `under_way`; planned at each call, as above.
drop function if exists invocations_session_page(uuid, bigint, bigint, text, text, text, uuid, text, bigint, integer);
create or replace function invocations_session_page(
  organization uuid, from_ms bigint, until_ms bigint,
  wanted_decision text, wanted_model text, wanted_status text, wanted_key uuid, wanted_session text, under_way uuid[],
  skipped bigint, at_most integer,
  out total bigint, out ids uuid[]
)
language plpgsql stable
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  first_id constant uuid := invocations_first_id(from_ms);
  end_id constant uuid := invocations_first_id(until_ms);
begin
  select count(*) + coalesce(cardinality(under_way), 0) into total from invocations v
   where v.organization_id = organization and v.session_name = wanted_session and v.id >= first_id and v.id < end_id
     and invocations_has(v, wanted_decision, wanted_model, wanted_status, wanted_key);
  ids := array(
    select l.id
      from ((select v.id from invocations v
              where v.organization_id = organization and v.session_name = wanted_session
                and v.id >= first_id and v.id < end_id
                and invocations_has(v, wanted_decision, wanted_model, wanted_status, wanted_key)
              order by v.id desc limit skipped + at_most)
            union all
            (select u.id from unnest(under_way) as u (id) order by u.id desc)) as l
     order by l.id desc offset skipped limit at_most);
end $$;

-- One page, newest first: how many traces match in all, and the ids of the page. Whole days are counted by their counts,
-- the rest by hours; then only the hours of the page are read: those with few matches from their lists, the others from
-- the rows.
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
  under_way uuid[];
  part record;
  of_hour record;
begin
  total := 0;
  ids := '{}';
  if from_ms >= until_ms then
    return;
  end if;

  if coalesce(wanted_decision, 'BYPASS') = 'BYPASS' and coalesce(wanted_status, 'started') = 'started' then
    under_way := array(
      select v.id from invocations_under_way(organization) v
       where v.id >= invocations_first_id(from_ms) and v.id < invocations_first_id(until_ms)
         and (wanted_session is null or v.session_name = wanted_session)
         and invocations_has(v, wanted_decision, wanted_model, wanted_status, wanted_key));
  end if;

  if wanted_session is not null then
    select s.total, s.ids into total, ids
      from invocations_session_page(organization, from_ms, until_ms, wanted_decision, wanted_model, wanted_status,
                                    wanted_key, wanted_session, under_way, skipped, at_most) as s;
    return;
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
                and trace_counts_has(c, wanted_decision, wanted_model, wanted_status, wanted_key)
             union all
             select invocations_hour_of(u.id) / 24, 1 from unnest(under_way) as u (id)
              where invocations_hour_of(u.id) / 24 >= whole and invocations_hour_of(u.id) / 24 < cut) as d
      group by d.day order by d.day desc)
    union all
    select from_ms, least(whole * day_ms, until_ms), null where from_ms < least(whole * day_ms, until_ms)
  loop
    if part.traces is null or (skipped < part.traces and cardinality(ids) < at_most) then
      for of_hour in
        select h.hour, h.traces, h.is_listed,
               greatest(from_ms, h.hour * hour_ms) as from_ms, least(until_ms, (h.hour + 1) * hour_ms) as until_ms
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
        if of_hour.is_listed then
          ids := ids || array(
            select l.id
              from invocations_listed(organization, of_hour.from_ms, of_hour.until_ms, wanted_decision, wanted_model,
                                      wanted_status, wanted_key, under_way) as l (id)
             order by l.id desc offset skipped limit at_most - cardinality(ids));
        else
          ids := ids || invocations_read(organization, of_hour.from_ms, of_hour.until_ms, wanted_decision, wanted_model,
                                         wanted_status, wanted_key, under_way, of_hour.traces, skipped,
                                         at_most - cardinality(ids));
        end if;
        skipped := 0;
      end loop;
    else
      total := total + part.traces;
      skipped := greatest(skipped - part.traces, 0);
    end if;
  end loop;
end $$;
grant execute on function invocations_trace_hours, invocations_trace_page to bailiwick_app;
