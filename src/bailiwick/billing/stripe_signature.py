"""The signature of a Stripe webhook (contract x-stripe; docs.stripe.com/webhooks#verify-manually).

The library's own check decodes the body as text, compares only old timestamps with the tolerance, and takes a secret's
absence for an error of the caller; here every failure is one error, and the body is bytes until it is proved.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from bailiwick.billing.errors import WebhookSignatureInvalid
from bailiwick.kernel.crypto import same

TOLERANCE_SECONDS = 300
_MAX_SIGNATURES = 16  # Stripe sends one for each active secret, at most a few


def verify_signature(body: bytes, header: str | None, secret: str | None, *, at: float) -> None:
    """Raises WebhookSignatureInvalid unless one v1 value of `header` signs `body` at a time within 300 s of `at`.

    `header` is `t=<unix seconds>,v1=<hex>[,v1=...]`; other schemes in it are passed over. `at` is in Unix seconds.
    """
    if not header or not secret:
        raise WebhookSignatureInvalid
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"][:_MAX_SIGNATURES]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        raise WebhookSignatureInvalid
    if abs(at - int(times[0])) > TOLERANCE_SECONDS:
        raise WebhookSignatureInvalid
    expected = hmac.new(secret.encode(), times[0].encode() + b"." + body, sha256).hexdigest()
    # Every value is compared, so that the time taken does not tell which one matched.
    matches = [same(expected, signature) for signature in signatures]
    if not any(matches):
        raise WebhookSignatureInvalid
