"""Users, organizations, memberships, sessions, credentials, mail.

One user, organization and membership model for every API family; `authenticate` tells who calls.
"""

from bailiwick.identity.access_tokens import published_keys, rotate_signing_key
from bailiwick.identity.api_keys import create_api_key, revoke_api_key
from bailiwick.identity.budget_check import BudgetAnswer, check_budget
from bailiwick.identity.budget_tiers import BUDGET_TIERS, BudgetTier, session_scope_id
from bailiwick.identity.callers import Caller, Credential, Role
from bailiwick.identity.credentials import authenticate
from bailiwick.identity.email_addresses import normal_email, resend_verification, verify_email
from bailiwick.identity.errors import MembershipEnded, SlugTaken
from bailiwick.identity.external_callers import find_external_organization
from bailiwick.identity.key_attenuation import Attenuated, attenuate_key
from bailiwick.identity.key_limits import CallLimits, MoneyLimit, key_limits, money_limits
from bailiwick.identity.key_rotation import MOST_GRACE_SECONDS, rotate_key
from bailiwick.identity.key_scopes import allows_model
from bailiwick.identity.key_usage import DayOfUsage, key_usage
from bailiwick.identity.mail import deliver_mails, list_mails, mails_under_way, queue_mail
from bailiwick.identity.member_keys import (
    KeyPage,
    ShownKey,
    change_key,
    delete_key,
    issue_key,
    list_keys,
    revoke_key,
    show_key,
)
from bailiwick.identity.members import Member, find_member, read_own_member
from bailiwick.identity.organizations import (
    Workspace,
    create_organization,
    get_organization,
    read_workspace,
    touch_organization,
    update_workspace,
)
from bailiwick.identity.process import start
from bailiwick.identity.sessions import Tokens, log_out, refresh
from bailiwick.identity.sign_in import change_password, log_in
from bailiwick.identity.sign_up import Founder, SignedIn, SignedUp, add_member, register, sign_up
from bailiwick.identity.tables import ApiKey, Mail, Membership, Organization, User, VirtualKey
from bailiwick.identity.upkeep import delete_expired
from bailiwick.identity.virtual_keys import (
    KeySettings,
    KeyStatus,
    create_virtual_key,
    lock_family,
    read_key_settings,
    revoke_virtual_key,
    status_of,
)

__all__ = [
    "BUDGET_TIERS",
    "MOST_GRACE_SECONDS",
    "ApiKey",
    "Attenuated",
    "BudgetAnswer",
    "BudgetTier",
    "CallLimits",
    "Caller",
    "Credential",
    "DayOfUsage",
    "Founder",
    "KeyPage",
    "KeySettings",
    "KeyStatus",
    "Mail",
    "Member",
    "Membership",
    "MembershipEnded",
    "MoneyLimit",
    "Organization",
    "Role",
    "ShownKey",
    "SignedIn",
    "SignedUp",
    "SlugTaken",
    "Tokens",
    "User",
    "VirtualKey",
    "Workspace",
    "add_member",
    "allows_model",
    "attenuate_key",
    "authenticate",
    "change_key",
    "change_password",
    "check_budget",
    "create_api_key",
    "create_organization",
    "create_virtual_key",
    "delete_expired",
    "delete_key",
    "deliver_mails",
    "find_external_organization",
    "find_member",
    "get_organization",
    "issue_key",
    "key_limits",
    "key_usage",
    "list_keys",
    "list_mails",
    "lock_family",
    "log_in",
    "log_out",
    "mails_under_way",
    "money_limits",
    "normal_email",
    "published_keys",
    "queue_mail",
    "read_key_settings",
    "read_own_member",
    "read_workspace",
    "refresh",
    "register",
    "resend_verification",
    "revoke_api_key",
    "revoke_key",
    "revoke_virtual_key",
    "rotate_key",
    "rotate_signing_key",
    "session_scope_id",
    "show_key",
    "sign_up",
    "start",
    "status_of",
    "touch_organization",
    "update_workspace",
    "verify_email",
]
