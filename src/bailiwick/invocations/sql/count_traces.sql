-- The hour of the Unix epoch in which an id of UUIDv7 was made.
create or replace function invocations_hour_of(id uuid) returns integer
language sql immutable parallel safe as
$$ select (('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 3600000)::integer $$;

-- Counts invocations that have just ended, in the transaction that ended them: each by its hour and by its day. Locks
-- counts in the order of their key: after budgets, before audit heads.
create or replace function invocations_count_traces(
  organization_ids uuid[],
  ids uuid[],
  statuses text[],
  decisions text[],
  requested_models text[],
  routed_models text[],
  virtual_key_ids uuid[]
) returns void
language plpgsql
as $$
begin
  insert into trace_counts as c (organization_id, span_hours, start_hour, status, decision, requested_model,
                                 routed_model, virtual_key_id, traces)
  select i.organization_id, span.hours, invocations_hour_of(i.id) / span.hours * span.hours, i.status,
         coalesce(i.decision, 'BYPASS'), left(i.requested, 256), left(coalesce(i.routed, ''), 256),
         coalesce(i.key, '00000000-0000-0000-0000-000000000000'), count(*)
    from unnest(organization_ids, ids, statuses, decisions, requested_models, routed_models, virtual_key_ids)
         as i (organization_id, id, status, decision, requested, routed, key)
   cross join (values (1), (24)) as span (hours)
   group by 1, 2, 3, 4, 5, 6, 7, 8 order by 1, 2, 3, 4, 5, 6, 7, 8
  on conflict (organization_id, span_hours, start_hour, status, decision, requested_model, routed_model, virtual_key_id)
  do update set traces = c.traces + excluded.traces;
end $$;

-- The same for one of them.
create or replace function invocations_count_trace(
  organization uuid,
  invocation uuid,
  status text,
  decision text,
  requested_model text,
  routed_model text,
  virtual_key uuid
) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  hour integer := invocations_hour_of(invocation);
begin
  decision := coalesce(decision, 'BYPASS');
  requested_model := left(requested_model, 256);
  routed_model := left(coalesce(routed_model, ''), 256);
  virtual_key := coalesce(virtual_key, '00000000-0000-0000-0000-000000000000');
  insert into trace_counts as c (organization_id, span_hours, start_hour, status, decision, requested_model,
                                 routed_model, virtual_key_id, traces)
  values (organization, 1, hour, status, decision, requested_model, routed_model, virtual_key, 1),
         (organization, 24, hour / 24 * 24, status, decision, requested_model, routed_model, virtual_key, 1)
  on conflict on constraint trace_counts_pkey do update set traces = c.traces + 1;
end $$;

-- The same for rows that somebody else has just ended; ids without a row count nothing.
create or replace function invocations_count_traces(organization_ids uuid[], ids uuid[]) returns void
language plpgsql
as $$
begin
  perform invocations_count_traces(array_agg(v.organization_id), array_agg(v.id), array_agg(v.status),
                                   array_agg(v.decision), array_agg(coalesce(v.requested_model, v.target_name)),
                                   array_agg(v.model), array_agg(v.virtual_key_id))
     from unnest(organization_ids, ids) as i (organization_id, id)
     join invocations v on v.organization_id = i.organization_id and v.id = i.id;
end $$;
