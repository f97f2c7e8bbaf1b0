-- Whether a kill switch that is not lifted stops a call: the installation's, its organisation's, that of the agent it is
-- for, or that of the key it is made with or paid by, or of a key which one of these was attenuated from.
create or replace function invocations_is_killed(
  organization uuid, credential_key uuid, paying_key uuid, target_kind text, target_name text
) returns boolean
language sql stable
as $$
  select exists (select from installation_kill_switches where lifted_at is null)
      or exists (
        select from kill_switches s
         where s.organization_id = organization and s.lifted_at is null
           and case s.scope
                 when 'organization' then true
                 when 'agent' then invocations_is_killed.target_kind <> 'model' and s.target = invocations_is_killed.target_name
                 else s.key_id in (credential_key, paying_key) or s.key_id in (
                   with recursive chain as (
                     select k.id, k.parent_key_id from virtual_keys k
                      where k.organization_id = organization and k.id in (credential_key, paying_key)
                     union
                     select parent.id, parent.parent_key_id from virtual_keys parent
                       join chain on parent.id = chain.parent_key_id
                      where parent.organization_id = organization)
                   select id from chain)
               end)
$$;
