"""Every use that crosses tenants, in one list.

A transaction of `database.system_transaction(use)` runs as the role `bailiwick_system`, which row-level security lets
see every organisation's rows. Nothing else may; a new use is a new line here, with its reason.
"""

from __future__ import annotations

from enum import StrEnum


class CrossTenantUse(StrEnum):
    """Why a transaction may see more than one organisation."""

    SIGN_UP = "sign-up makes the organisation that it then belongs to"
    SIGN_IN = "log-in, refresh and credentials are looked up before the organisation is known"
    ACCOUNT = "a user's own record, e-mail address and sessions span organisations"
    EXTERNAL_TOKEN = "an external issuer's organisation id is mapped to ours"
    MAIL = "the sender and the operator read the mail queue"
    SWEEP = "the sweeper voids expired holds of every organisation"
    LEASES = "a process keeps the holds of the invocations that it runs, whosever they are"
    CHECKPOINT = "the checkpoint maker visits every log that has grown"
    LOG_SOURCE_SCHEDULE = "the schedule claims the log sources that are due"
    LOG_SOURCE_OWNER = "removing another organisation's log source is told apart from removing an unknown one"
    INBOUND_WEBHOOK = "a webhook's organisation is known only from the row that it names"
    BILLING_WEBHOOK = "a Stripe event's organisation is found by its metadata or customer"
    KILL_SWITCH = "every process knows every kill switch that is engaged"
    OUTBOX = "the publisher drains the outbox"
    VERIFY = "ledger check and audit verify read the whole installation"
    MAINTENANCE = "partitions, statistics and other upkeep"
