-- The completed agent runs of each agent that began within bounds (milliseconds of the Unix epoch, from <= start < until),
-- and their tokens: whole days and hours from their counts, what a bound cuts of an hour from the rows.
create or replace function invocations_run_usage(organization uuid, from_ms bigint, until_ms bigint)
returns table (agent_id text, runs bigint, tokens bigint)
language plpgsql stable
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  hour_ms constant bigint := 3600000;
  -- Behind the hour that `from_ms` cuts, and at the one that `until_ms` cuts; days likewise, in hours.
  first_hour bigint := least((from_ms + hour_ms - 1) / hour_ms, (until_ms + hour_ms - 1) / hour_ms);
  last_hour bigint := greatest(until_ms / hour_ms, first_hour);
  first_day bigint := least((first_hour + 23) / 24 * 24, last_hour);
  last_day bigint := greatest(last_hour / 24 * 24, first_day);
begin
  return query
  select part.agent_id, sum(part.runs)::bigint, sum(part.tokens)::bigint
    from (select c.requested_model as agent_id, c.runs, c.run_tokens as tokens from trace_counts c
           where c.organization_id = organization and c.span_hours = 24 and c.start_hour >= first_day
             and c.start_hour < last_day and c.runs > 0
          union all
          select c.requested_model, c.runs, c.run_tokens from trace_counts c
           where c.organization_id = organization and c.span_hours = 1 and c.start_hour >= first_hour
             and c.start_hour < first_day and c.runs > 0
          union all
          select c.requested_model, c.runs, c.run_tokens from trace_counts c
           where c.organization_id = organization and c.span_hours = 1 and c.start_hour >= last_day
             and c.start_hour < last_hour and c.runs > 0
          union all
          select v.target_name, 1, invocations_run_tokens(v) from invocations v
           where v.organization_id = organization and v.id >= invocations_first_id(from_ms)
             and v.id < invocations_first_id(least(first_hour * hour_ms, until_ms))
             and invocations_run_tokens(v) is not null
          union all
          select v.target_name, 1, invocations_run_tokens(v) from invocations v
           where v.organization_id = organization and v.id >= invocations_first_id(last_hour * hour_ms)
             and v.id < invocations_first_id(until_ms) and invocations_run_tokens(v) is not null) as part
   group by part.agent_id order by part.agent_id;
end $$;
grant execute on function invocations_run_usage to bailiwick_app;
