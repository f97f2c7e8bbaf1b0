-- Appends one entry, as `audit_append` does a batch of one, at a third of the price.
create or replace function audit_append_one(organization uuid, entry_id uuid, chain text, body text)
returns void language plpgsql as $$
declare
  head audit_heads;
  previous bytea;
  hash bytea;
begin
  select * into head from audit_heads where organization_id = organization for update;
  if not found then
    insert into audit_heads (organization_id) values (organization) on conflict do nothing;
    select * into strict head from audit_heads where organization_id = organization for update;
  end if;
  previous := case chain when 'runs' then head.runs_hash else head.activity_hash end;
  hash := sha256(convert_to(encode(previous, 'hex') || body, 'UTF8'));
  update audit_heads
     set size = head.size + 1,
         runs_hash = case chain when 'runs' then hash else head.runs_hash end,
         activity_hash = case chain when 'runs' then head.activity_hash else hash end
   where organization_id = organization;
  insert into audit_entries (organization_id, id, sequence, chain, prev_hash, row_hash, body)
  values (organization, entry_id, head.size, chain, previous, hash, body);
end $$;
alter function audit_append_one(uuid, uuid, text, text) owner to bailiwick_system;
revoke execute on function audit_append_one(uuid, uuid, text, text) from public;
grant execute on function audit_append_one(uuid, uuid, text, text) to bailiwick_system;
