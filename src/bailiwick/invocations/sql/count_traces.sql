-- The hour of the Unix epoch in which an id of UUIDv7 was made.
create or replace function invocations_hour_of(id uuid) returns integer
language sql immutable parallel safe as
$$ select (('x' || left(id::text, 8) || substr(id::text, 10, 4))::bit(48)::bigint / 3600000)::integer $$;

-- What an ended invocation counts among its organisation's completed agent runs: its tokens; null: it is none of them.
create or replace function invocations_run_tokens(v invocations) returns bigint
language sql immutable parallel safe as
$$ select case when v.kind = 'agent_run' and v.status = 'completed' then v.input_tokens + v.output_tokens end $$;

-- Counts invocations that have just ended, in the transaction that ended them: each by its hour and by its day. Locks
-- counts in the order of their key: after budgets, before audit heads.
--
-- As long as an hour has few of a kind, its row lists them, so that what is rare is found without reading the hour. A row
-- whose list is shorter than its count (it was made before there were lists) has none that is of use.
create or replace function invocations_count_traces(
  organization_ids uuid[],
  ids uuid[],
  statuses text[],
  decisions text[],
  requested_models text[],
  routed_models text[],
  virtual_key_ids uuid[],
  run_tokens bigint[]
) returns void
language plpgsql
as $$
declare
  few constant integer := 64;
begin
  insert into trace_counts as c (organization_id, span_hours, start_hour, status, decision, requested_model,
                                 routed_model, virtual_key_id, traces, runs, run_tokens, ids)
  select i.organization_id, span.hours, i.hour / span.hours * span.hours, i.status,
         coalesce(i.decision, 'BYPASS'), left(i.requested, 256), left(coalesce(i.routed, ''), 256),
         coalesce(i.key, '00000000-0000-0000-0000-000000000000'), count(*), count(i.run_tokens),
         coalesce(sum(i.run_tokens), 0)::bigint,
         case when span.hours = 1 and count(*) <= few then array_agg(i.id) end
    from (select u.*, invocations_hour_of(u.id) as hour
            from unnest(organization_ids, ids, statuses, decisions, requested_models, routed_models, virtual_key_ids,
                        run_tokens)
                 as u (organization_id, id, status, decision, requested, routed, key, run_tokens) offset 0) as i
   cross join (values (1), (24)) as span (hours)
   group by 1, 2, 3, 4, 5, 6, 7, 8 order by 1, 2, 3, 4, 5, 6, 7, 8
  on conflict (organization_id, span_hours, start_hour, status, decision, requested_model, routed_model, virtual_key_id)
  do update set traces = c.traces + excluded.traces, runs = c.runs + excluded.runs,
                run_tokens = c.run_tokens + excluded.run_tokens,
                ids = case when cardinality(c.ids) = c.traces and c.traces + excluded.traces <= few
                           then c.ids || excluded.ids end;
end $$;

-- The same for one of them.
create or replace function invocations_count_trace(
  organization uuid,
  invocation uuid,
  status text,
  decision text,
  requested_model text,
  routed_model text,
  virtual_key uuid,
  run_tokens bigint
) returns void
language plpgsql
as $$
#variable_conflict use_variable
declare
  few constant integer := 64;
  hour integer := invocations_hour_of(invocation);
  runs integer := case when run_tokens is null then 0 else 1 end;
  is_hour_counted boolean;
begin
  decision := coalesce(decision, 'BYPASS');
  requested_model := left(requested_model, 256);
  routed_model := left(coalesce(routed_model, ''), 256);
  virtual_key := coalesce(virtual_key, '00000000-0000-0000-0000-000000000000');
  run_tokens := coalesce(run_tokens, 0);
  -- Most find their rows, and changing what is known to be there costs half of inserting in vain.
  update trace_counts c
     set traces = c.traces + 1, runs = c.runs + runs, run_tokens = c.run_tokens + run_tokens,
         ids = case when cardinality(c.ids) = c.traces and c.traces < few then c.ids || invocation end
   where c.organization_id = organization and c.span_hours = 1 and c.start_hour = hour and c.status = status
     and c.decision = decision and c.requested_model = requested_model and c.routed_model = routed_model
     and c.virtual_key_id = virtual_key;
  is_hour_counted := found;
  if is_hour_counted then
    update trace_counts c
       set traces = c.traces + 1, runs = c.runs + runs, run_tokens = c.run_tokens + run_tokens
     where c.organization_id = organization and c.span_hours = 24 and c.start_hour = hour / 24 * 24
       and c.status = status and c.decision = decision and c.requested_model = requested_model
       and c.routed_model = routed_model and c.virtual_key_id = virtual_key;
    if found then
      return;
    end if;
  end if;
  insert into trace_counts as c (organization_id, span_hours, start_hour, status, decision, requested_model,
                                 routed_model, virtual_key_id, traces, runs, run_tokens, ids)
  select organization, span.hours, hour / span.hours * span.hours, status, decision, requested_model, routed_model,
         virtual_key, 1, runs, run_tokens, case when span.hours = 1 then array[invocation] end
    from (values (1), (24)) as span (hours) where span.hours = 24 or not is_hour_counted
  on conflict on constraint trace_counts_pkey
  do update set traces = c.traces + 1, runs = c.runs + excluded.runs, run_tokens = c.run_tokens + excluded.run_tokens,
                ids = case when cardinality(c.ids) = c.traces and c.traces < few then c.ids || excluded.ids end;
end $$;

-- The same for rows that have ended in this transaction, which it reads; ids without a row count nothing.
create or replace function invocations_count_traces(organization_ids uuid[], ids uuid[]) returns void
language plpgsql
as $$
begin
  perform invocations_count_traces(array_agg(v.organization_id), array_agg(v.id), array_agg(v.status),
                                   array_agg(v.decision), array_agg(coalesce(v.requested_model, v.target_name)),
                                   array_agg(v.model), array_agg(v.virtual_key_id),
                                   array_agg(invocations_run_tokens(v)))
     from unnest(organization_ids, ids) as i (organization_id, id)
     join invocations v on v.organization_id = i.organization_id and v.id = i.id;
end $$;
