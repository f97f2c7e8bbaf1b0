-- What an entry is found by: the members of its body of that name.
create or replace function audit_found_by(chain text, body text, out action text, out actor text, out agent_id text)
language sql immutable parallel safe as
$$ select case chain when 'activity' then body::json ->> 'action' end,
          case chain when 'activity' then body::json ->> 'actor' end,
          case chain when 'runs' then body::json ->> 'agent_id' end $$;

-- Appends entries to the logs of one or more organisations, in the order given. One call for a whole batch.
--
-- The arrays run side by side: organisation, UUIDv7 of the entry, chain ('runs' or 'activity'), body (canonical JSON), and
-- what the entry is found by (`audit_found_by`). Each entry gets the next sequence of its organisation and
--   row_hash = SHA-256(prev_hash as hex text || body),   prev_hash = the row_hash before it in its chain, or zeros.
-- The heads stay locked until the caller's transaction ends, so appending comes last in it. They are locked, or
-- made, in the order of organisations, so that two batches cannot wait for each other.
create or replace function audit_append(
  organization_ids uuid[], entry_ids uuid[], chains text[], bodies text[], actions text[], actors text[],
  agent_ids text[]
) returns void language plpgsql security definer set search_path = pg_catalog, public as $$
declare
  organization uuid;
  head audit_heads;
  previous bytea;
  hash bytea;
  sequences bigint[];
  previous_hashes bytea[];
  hashes bytea[];
begin
  if not cardinality(organization_ids) = all (array[cardinality(entry_ids), cardinality(chains), cardinality(bodies),
                                                    cardinality(actions), cardinality(actors), cardinality(agent_ids)])
  then
    raise exception 'the arrays of audit_append differ in length' using errcode = 'array_subscript_error';
  end if;
  if cardinality(organization_ids) = 0 then
    return;
  end if;
  -- Sized once; only their elements are set below, which costs the same however long they are.
  sequences := array_fill(0::bigint, array[cardinality(organization_ids)]);
  previous_hashes := array_fill(''::bytea, array[cardinality(organization_ids)]);
  hashes := previous_hashes;

  for organization in select distinct o.id from unnest(organization_ids) as o (id) order by 1 loop
    select * into head from audit_heads where organization_id = organization for update;
    if not found then
      insert into audit_heads (organization_id) values (organization) on conflict do nothing;
      select * into strict head from audit_heads where organization_id = organization for update;
    end if;
    for place in 1 .. cardinality(organization_ids) loop
      continue when organization_ids[place] <> organization;
      previous := case chains[place] when 'runs' then head.runs_hash else head.activity_hash end;
      hash := sha256(convert_to(encode(previous, 'hex') || bodies[place], 'UTF8'));
      if chains[place] = 'runs' then
        head.runs_hash := hash;
      else
        head.activity_hash := hash;
      end if;
      previous_hashes[place] := previous;
      hashes[place] := hash;
      sequences[place] := head.size;
      head.size := head.size + 1;
    end loop;
    update audit_heads
    set size = head.size, linked_hash = previous, runs_hash = head.runs_hash, activity_hash = head.activity_hash
    where organization_id = organization;
  end loop;

  insert into audit_entries (organization_id, id, sequence, chain, prev_hash, row_hash, body, action, actor, agent_id)
  select organization_ids[place], entry_ids[place], sequences[place], chains[place], previous_hashes[place],
         hashes[place], bodies[place], actions[place], actors[place], agent_ids[place]
    from generate_subscripts(organization_ids, 1) as place;
end $$;

-- The same for whoever has only the bodies.
create or replace function audit_append(
  organization_ids uuid[], entry_ids uuid[], chains text[], bodies text[]
) returns void language sql set search_path = pg_catalog, public as $$
  select audit_append(organization_ids, entry_ids, chains, bodies, array_agg(f.action order by e.place),
                      array_agg(f.actor order by e.place), array_agg(f.agent_id order by e.place))
    from unnest(chains, bodies) with ordinality as e (chain, body, place)
   cross join lateral audit_found_by(e.chain, e.body) as f
$$;
alter function audit_append(uuid[], uuid[], text[], text[]) owner to bailiwick_system;
alter function audit_append(uuid[], uuid[], text[], text[], text[], text[], text[]) owner to bailiwick_system;
revoke execute on function audit_append(uuid[], uuid[], text[], text[]) from public;
revoke execute on function audit_append(uuid[], uuid[], text[], text[], text[], text[], text[]) from public;
grant execute on function audit_append(uuid[], uuid[], text[], text[]) to bailiwick_system;
grant execute on function audit_append(uuid[], uuid[], text[], text[], text[], text[], text[]) to bailiwick_system;
