-- Invocations under way. All that is written of one is its hold, which has its id; what its row will need when it ends
-- is in the hold's `details`.
create or replace function invocations_details(
  call invocation_call, subject text, membership uuid, virtual_key uuid
) returns jsonb
language sql stable parallel safe as
$$ select jsonb_build_object('kind', call.kind, 'target_kind', call.target_kind, 'target_name', call.target_name,
                             'subject', subject, 'membership_id', membership, 'virtual_key_id', virtual_key,
                             'session_name', call.session_name) $$;

-- What they tell, by the columns of an invocation's row. The server takes such a function into the statement that calls
-- it, so that it costs no more than its expressions do.
create or replace function invocations_of_details(details jsonb)
returns table (kind text, target_kind text, target_name text, subject text, membership_id uuid, virtual_key_id uuid,
               session_name text)
language sql immutable parallel safe rows 1 as
$$ select details ->> 'kind', details ->> 'target_kind', details ->> 'target_name', details ->> 'subject',
          (details ->> 'membership_id')::uuid, (details ->> 'virtual_key_id')::uuid, details ->> 'session_name' $$;

-- An open hold as the row of the invocation that it is for.
create or replace function invocations_started(h holds) returns setof invocations
language sql stable parallel safe rows 1 as
$$ select v.* from jsonb_populate_record(
     null::invocations,
     h.details || jsonb_build_object('organization_id', h.organization_id, 'id', h.id, 'hold_id', h.id,
                                     'status', 'started', 'input_tokens', 0, 'output_tokens', 0, 'cost_micros', 0)) as v
    where h.state = 'open' and h.kind = 'invocation' and h.details is not null $$;

-- The invocations of an organisation that are under way. They are looked for among the open holds of all organisations,
-- which have an index of their own, and not by the organisation, whose closed ones are many: hence the comparison that
-- no index answers, and the role that sees all.
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
  select v.* from holds h cross join lateral invocations_started(h) as v
   where h.state = 'open' and (h.organization_id = organization) is true;
end $$;
alter function invocations_under_way owner to bailiwick_system;
revoke execute on function invocations_under_way from public;
grant execute on function invocations_under_way to bailiwick_app, bailiwick_system;

-- Invocations by their ids, those under way among them. Of one snapshot, so that each is found as one of the two.
create or replace function invocations_found(organization uuid, wanted uuid[]) returns setof invocations
language plpgsql stable as $$
declare
  ended bigint;
begin
  return query select v.* from invocations v where v.organization_id = organization and v.id = any (wanted);
  get diagnostics ended = row_count;
  if ended < cardinality(wanted) then
    return query
    select v.* from holds h cross join lateral invocations_started(h) as v
     where h.organization_id = organization and h.id = any (wanted);
  end if;
end $$;
grant execute on function invocations_found to bailiwick_app;
