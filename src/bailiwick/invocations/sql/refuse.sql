-- Writes the traces of calls that are refused before admission: nothing is reserved, so that these rows begin and end
-- here. All items of a batch in one transaction; an item that was written before counts nothing.
--
-- Item i is described by the i-th element of every array.
create or replace function invocations_refuse(
  organization_ids uuid[],
  ids uuid[],
  kinds text[],
  target_kinds text[],
  target_names text[],
  subjects text[],
  membership_ids uuid[],
  virtual_key_ids uuid[],
  session_names text[],
  error_codes text[],
  contexts text[]
) returns void
language plpgsql security definer
set search_path = pg_catalog, public
set plan_cache_mode = force_generic_plan
as $$
declare
  counted text;
begin
  with refused as (
    insert into invocations (organization_id, id, kind, target_kind, target_name, subject, membership_id,
                             virtual_key_id, session_name, status, decision, error_code, context, finished_at)
    select i.organization_id, i.id, i.kind, i.target_kind, i.target_name, i.subject, i.membership_id,
           i.virtual_key_id, i.session_name, 'refused', 'KILL', i.error_code, i.context::jsonb, clock_timestamp()
      from unnest(organization_ids, ids, kinds, target_kinds, target_names, subjects, membership_ids, virtual_key_ids,
                  session_names, error_codes, contexts)
           as i (organization_id, id, kind, target_kind, target_name, subject, membership_id, virtual_key_id,
                 session_name, error_code, context)
    on conflict (organization_id, id) do nothing
    returning organization_id, id, status, decision, target_name, model, virtual_key_id)
  select invocations_count_traces(array_agg(r.organization_id), array_agg(r.id), array_agg(r.status),
                                  array_agg(r.decision), array_agg(r.target_name), array_agg(r.model),
                                  array_agg(r.virtual_key_id), array_agg(null::bigint))
    into counted from refused r;
end $$;
alter function invocations_refuse owner to bailiwick_system;
revoke execute on function invocations_refuse from public;
grant execute on function invocations_refuse to bailiwick_app;
