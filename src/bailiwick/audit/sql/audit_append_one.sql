-- Appends one entry, as `audit_append` does a batch of one, at a third of the price.
create or replace function audit_append_one(
  organization uuid, entry_id uuid, chain text, body text, action text, actor text, agent_id text
) returns void language plpgsql as $$
#variable_conflict use_variable
declare
  place bigint;
  previous bytea;
  hash bytea;
begin
  loop
    update audit_heads h
       set size = h.size + 1,
           linked_hash = case chain when 'runs' then h.runs_hash else h.activity_hash end,
           runs_hash = case chain when 'runs' then sha256(convert_to(encode(h.runs_hash, 'hex') || body, 'UTF8'))
                                  else h.runs_hash end,
           activity_hash = case chain when 'runs' then h.activity_hash
                                      else sha256(convert_to(encode(h.activity_hash, 'hex') || body, 'UTF8')) end
     where h.organization_id = organization
    returning h.size - 1, h.linked_hash, case chain when 'runs' then h.runs_hash else h.activity_hash end
      into place, previous, hash;
    exit when found;
    insert into audit_heads (organization_id) values (organization) on conflict do nothing;
  end loop;
  insert into audit_entries (organization_id, id, sequence, chain, prev_hash, row_hash, body, action, actor, agent_id)
  values (organization, entry_id, place, chain, previous, hash, body, action, actor, agent_id);
end $$;
alter function audit_append_one(uuid, uuid, text, text, text, text, text) owner to bailiwick_system;
revoke execute on function audit_append_one(uuid, uuid, text, text, text, text, text) from public;
grant execute on function audit_append_one(uuid, uuid, text, text, text, text, text) to bailiwick_system;
