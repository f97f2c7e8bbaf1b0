"""Users, organizations, memberships, sessions, credentials, mail.

One user, organization and membership model for every API family; `authenticate` tells who calls.
"""

from bailiwick.identity.access_tokens import published_keys, rotate_signing_key
from bailiwick.identity.api_keys import create_api_key, revoke_api_key
from bailiwick.identity.callers import Caller, Credential, Role
from bailiwick.identity.credentials import authenticate
from bailiwick.identity.email_addresses import normal_email, resend_verification, verify_email
from bailiwick.identity.errors import MembershipEnded, SlugTaken
from bailiwick.identity.external_callers import find_external_organization
from bailiwick.identity.mail import deliver_mails, list_mails, mails_under_way, queue_mail
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
from bailiwick.identity.virtual_keys import create_virtual_key, revoke_virtual_key

__all__ = [
    "ApiKey",
    "Caller",
    "Credential",
    "Founder",
    "Mail",
    "Member",
    "Membership",
    "MembershipEnded",
    "Organization",
    "Role",
    "SignedIn",
    "SignedUp",
    "SlugTaken",
    "Tokens",
    "User",
    "VirtualKey",
    "Workspace",
    "add_member",
    "authenticate",
    "change_password",
    "create_api_key",
    "create_organization",
    "create_virtual_key",
    "delete_expired",
    "deliver_mails",
    "find_external_organization",
    "find_member",
    "get_organization",
    "list_mails",
    "log_in",
    "log_out",
    "mails_under_way",
    "normal_email",
    "published_keys",
    "queue_mail",
    "read_own_member",
    "read_workspace",
    "refresh",
    "register",
    "resend_verification",
    "revoke_api_key",
    "revoke_virtual_key",
    "rotate_signing_key",
    "sign_up",
    "start",
    "touch_organization",
    "update_workspace",
    "verify_email",
]
