-- Appends one entry to the activity chain of an organisation: that of the running transaction, or any one within a
-- transaction of the system role.
create or replace function audit_append_activity(organization_id uuid, entry_id uuid, body text)
returns void language plpgsql security definer set search_path = pg_catalog, public as $$
begin
  if current_setting('role') <> 'bailiwick_system' and organization_id is distinct from bailiwick_organization() then
    raise exception 'the transaction is not that of organisation %', organization_id using errcode = 'insufficient_privilege';
  end if;
  perform audit_append_one(organization_id, entry_id, 'activity', body, f.action, f.actor, f.agent_id)
     from audit_found_by('activity', body) as f;
end $$;
alter function audit_append_activity(uuid, uuid, text) owner to bailiwick_system;
revoke execute on function audit_append_activity(uuid, uuid, text) from public;
grant execute on function audit_append_activity(uuid, uuid, text) to bailiwick_app, bailiwick_system;
