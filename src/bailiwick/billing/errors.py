"""What provisioning and billing refuse.

OrgMismatch              403  the request names another organisation than the token
TenantNotFound           404  the organisation was never provisioned
WebhookSignatureInvalid  400  the event does not prove that it is Stripe's
KeyIssueFailed           502  the gateway issued no key
KeyRevocationFailed      502  the gateway did not revoke the key
"""

from __future__ import annotations

from bailiwick.kernel.errors import BailiwickError, Forbidden, NotFound, UpstreamFailed


class OrgMismatch(Forbidden):
    """orgId in request does not match authenticated organization"""

    code = "ORG_MISMATCH"


class TenantNotFound(NotFound):
    """Organization not found."""

    code = "TENANT_NOT_FOUND"


class WebhookSignatureInvalid(BailiwickError):
    """Invalid Stripe signature"""

    status, code = 400, "WEBHOOK_SIGNATURE_INVALID"


class KeyIssueFailed(UpstreamFailed):
    """The gateway issued no virtual key; nothing was recorded. Please try again."""

    code = "KEY_ISSUE_FAILED"


class KeyRevocationFailed(UpstreamFailed):
    """Failed to revoke virtual key. Please try again."""

    code = "KEY_REVOCATION_FAILED"
