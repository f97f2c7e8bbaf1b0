"""Rules about one column alone as domains of the busiest tables."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

UPGRADE = r"""
-- PostgreSQL reads every CHECK of a table anew for each statement that writes to it, which was a sixth of what a call
-- costs the database. A domain's check is read once for each connection. What compares columns stays a CHECK, one for
-- each table. (docs/decisions/0014)
create domain ledger_name as text check (value in ('usd_micros', 'credits'));
create domain hold_state as text check (value in ('open', 'posted', 'voided', 'expired'));
create domain budget_scope as text check (value in ('organization', 'member', 'virtual_key', 'session', 'agent'));
create domain budget_unit as text check (value in ('usd_micros', 'runs', 'tokens', 'requests'));
create domain budget_period as text check (value in ('once', 'minute', 'day', 'month', 'billing'));
create domain invocation_status as text
  check (value in ('started', 'completed', 'blocked', 'failed', 'cancelled', 'lost', 'refused'));
create domain decision as text check (value in ('BYPASS', 'ENHANCE', 'HIJACK', 'KILL'));
create domain span_hours as smallint check (value in (1, 24));
create domain run_or_none as smallint check (value in (0, 1));
create domain not_negative as bigint check (value >= 0);

alter table accounts
  drop constraint accounts_ledger_check, alter column ledger type ledger_name,
  drop constraint accounts_held_check, alter column held type not_negative;

alter table budgets
  drop constraint budgets_scope_check, alter column scope type budget_scope,
  drop constraint budgets_unit_check, alter column unit type budget_unit,
  drop constraint budgets_period_check, alter column period type budget_period,
  drop constraint budgets_limit_amount_check, alter column limit_amount type not_negative,
  drop constraint budgets_spent_check, alter column spent type not_negative,
  drop constraint budgets_held_check, alter column held type not_negative,
  drop constraint budgets_check, drop constraint budgets_minute_check, drop constraint budgets_requests_check;
alter table budgets add constraint budgets_check check (
  spent + held <= greatest(limit_amount, lowered_from)
  and (period <> 'minute' or period_end is not null)
  and (unit <> 'requests' or period = 'minute' and held = 0));

alter table holds
  drop constraint holds_state_check, alter column state type hold_state,
  drop constraint holds_amount_check, alter column amount type not_negative,
  drop constraint holds_tokens_check, alter column tokens type not_negative,
  drop constraint holds_check, alter column posted_amount type not_negative,
  drop constraint holds_check1, alter column posted_tokens type not_negative,
  drop constraint holds_posted_runs_check, alter column posted_runs type run_or_none;
alter table holds add constraint holds_check check (posted_amount <= amount and posted_tokens <= tokens);

alter table invocations
  drop constraint invocations_status_check, alter column status type invocation_status,
  drop constraint invocations_decision_check, alter column decision type decision;

alter table trace_counts drop constraint trace_counts_span_hours_check, alter column span_hours type span_hours;
"""


def upgrade() -> None:
    op.execute(UPGRADE)
