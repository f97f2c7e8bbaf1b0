-- Appends entries to the logs of one or more organisations, in the order given. One call for a whole batch.
--
-- The four arrays run side by side: organisation, UUIDv7 of the entry, chain ('runs' or 'activity'), body (canonical
-- JSON). Each entry gets the next sequence of its organisation and
--   row_hash = SHA-256(prev_hash as hex text || body),   prev_hash = the row_hash before it in its chain, or zeros.
-- The heads stay locked until the caller's transaction ends, so appending comes last in it. They are locked in the order
-- of organisations; a missing one is made before any is locked, so that two batches cannot wait for each other.
create or replace function audit_append(
  organization_ids uuid[], entry_ids uuid[], chains text[], bodies text[]
) returns void language plpgsql security definer set search_path = pg_catalog, public as $$
declare
  head audit_heads;
  place integer;
  previous bytea;
  hash bytea;
  new_organization_ids uuid[] := '{}';
  new_ids uuid[] := '{}';
  new_sequences bigint[] := '{}';
  new_chains text[] := '{}';
  new_prev_hashes bytea[] := '{}';
  new_row_hashes bytea[] := '{}';
  new_bodies text[] := '{}';
begin
  if not cardinality(organization_ids) = all (array[cardinality(entry_ids), cardinality(chains), cardinality(bodies)])
  then
    raise exception 'the arrays of audit_append differ in length' using errcode = 'array_subscript_error';
  end if;

  insert into audit_heads (organization_id)
  select distinct given.organization_id
  from unnest(organization_ids) as given (organization_id)
  where not exists (select from audit_heads where audit_heads.organization_id = given.organization_id)
  order by 1
  on conflict do nothing;

  for head in
    select * from audit_heads where organization_id = any (organization_ids) order by organization_id for update
  loop
    for place in
      select given.place
      from unnest(organization_ids) with ordinality as given (organization_id, place)
      where given.organization_id = head.organization_id
      order by given.place
    loop
      previous := case chains[place] when 'runs' then head.runs_hash else head.activity_hash end;
      hash := sha256(convert_to(encode(previous, 'hex') || bodies[place], 'UTF8'));
      new_organization_ids := new_organization_ids || head.organization_id;
      new_ids := new_ids || entry_ids[place];
      new_sequences := new_sequences || head.size;
      new_chains := new_chains || chains[place];
      new_prev_hashes := new_prev_hashes || previous;
      new_row_hashes := new_row_hashes || hash;
      new_bodies := new_bodies || bodies[place];
      if chains[place] = 'runs' then
        head.runs_hash := hash;
      else
        head.activity_hash := hash;
      end if;
      head.size := head.size + 1;
    end loop;
    update audit_heads
    set size = head.size, runs_hash = head.runs_hash, activity_hash = head.activity_hash
    where organization_id = head.organization_id;
  end loop;

  insert into audit_entries (organization_id, id, sequence, chain, prev_hash, row_hash, body)
  select * from unnest(
    new_organization_ids, new_ids, new_sequences, new_chains, new_prev_hashes, new_row_hashes, new_bodies
  );
end $$;
alter function audit_append(uuid[], uuid[], text[], text[]) owner to bailiwick_system;
revoke execute on function audit_append(uuid[], uuid[], text[], text[]) from public;
grant execute on function audit_append(uuid[], uuid[], text[], text[]) to bailiwick_system;
