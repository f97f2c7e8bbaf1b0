-- Locks budgets in the order of their keys, after the holds and accounts that `ledger_lock` locks.
create or replace function ledger_lock_budgets(budget_organization_ids uuid[], budget_ids uuid[]) returns void
language plpgsql security definer
set search_path = pg_catalog, public
as $$
begin
  perform 1 from budgets b
   where (b.organization_id, b.id) in (
     select i.organization_id, i.id from unnest(budget_organization_ids, budget_ids) as i (organization_id, id))
   order by b.organization_id, b.id for no key update;
end $$;
alter function ledger_lock_budgets owner to bailiwick_system;
revoke execute on function ledger_lock_budgets from public;
grant execute on function ledger_lock_budgets to bailiwick_app;
