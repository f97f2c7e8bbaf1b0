-- Locks holds, then accounts, each in the order of their keys: what every statement that changes several does.
create or replace function ledger_lock(
  hold_organization_ids uuid[], hold_ids uuid[], account_organization_ids uuid[], account_ids uuid[]
) returns void
language plpgsql security definer
set search_path = pg_catalog, public
as $$
begin
  perform 1 from holds h
   where (h.organization_id, h.id) in (
     select i.organization_id, i.id from unnest(hold_organization_ids, hold_ids) as i (organization_id, id))
   order by h.organization_id, h.id for no key update;
  perform 1 from accounts a
   where (a.organization_id, a.id) in (
     select i.organization_id, i.id from unnest(account_organization_ids, account_ids) as i (organization_id, id))
   order by a.organization_id, a.id for no key update;
end $$;
alter function ledger_lock owner to bailiwick_system;
revoke execute on function ledger_lock from public;
grant execute on function ledger_lock to bailiwick_app;
