"""Plans, tenants, subscriptions: who may run agents, how much in a period, and what Stripe says about it.

`invocation_terms` and `renew_period` serve the invocation pipeline, `upkeep` the background worker.
"""

from bailiwick.billing.allowances import renew_period
from bailiwick.billing.errors import (
    KeyIssueFailed,
    KeyRevocationFailed,
    OrgMismatch,
    TenantNotFound,
    WebhookSignatureInvalid,
)
from bailiwick.billing.periods import Period
from bailiwick.billing.plans import PLANS, Plan, PlanTerms
from bailiwick.billing.provisioning import Provisioned
from bailiwick.billing.subscriptions import SubscriptionView, get_subscription
from bailiwick.billing.tenants import (
    TenantState,
    deprovision_tenant,
    gateway_key,
    provision_tenant,
    tenant_state,
)
from bailiwick.billing.terms import Terms, invocation_terms
from bailiwick.billing.upkeep import upkeep
from bailiwick.billing.usage import AgentUsage, Statistics, get_statistics
from bailiwick.billing.webhook import receive_event

__all__ = [
    "PLANS",
    "AgentUsage",
    "KeyIssueFailed",
    "KeyRevocationFailed",
    "OrgMismatch",
    "Period",
    "Plan",
    "PlanTerms",
    "Provisioned",
    "Statistics",
    "SubscriptionView",
    "TenantNotFound",
    "TenantState",
    "Terms",
    "WebhookSignatureInvalid",
    "deprovision_tenant",
    "gateway_key",
    "get_statistics",
    "get_subscription",
    "invocation_terms",
    "provision_tenant",
    "receive_event",
    "renew_period",
    "tenant_state",
    "upkeep",
]
