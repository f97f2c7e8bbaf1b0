-- Locks accounts in the order of their keys, as every statement that changes several does.
create or replace function ledger_lock_accounts(organization_ids uuid[], account_ids uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, public
as $$
begin
  perform 1 from accounts a
   where (a.organization_id, a.id) in (
     select i.organization_id, i.id from unnest(organization_ids, account_ids) as i (organization_id, id))
   order by a.organization_id, a.id for no key update;
end $$;
alter function ledger_lock_accounts owner to bailiwick_system;
revoke execute on function ledger_lock_accounts from public;
grant execute on function ledger_lock_accounts to bailiwick_app;
