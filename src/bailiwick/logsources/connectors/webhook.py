"""Custom webhook: events that a sender pushes, signed.

`Bailiwick-Signature: t=<unix seconds>,v1=<hex>[,v1=...]`, where v1 is the HMAC-SHA256, with the source's secret, over
`t`, a dot and the raw body; one match is enough (two while a secret is changed). |now - t| is at most 300 s. A request
that is sent again inside that time changes nothing: each event is known by its id.

Body: one event or {"events": [...]}: {id, action, at (RFC 3339), actor?, target?, outcome?, attributes?}.
"""

import hashlib
import hmac
import re
from datetime import datetime
from typing import Any

import msgspec

from bailiwick.kernel.crypto import same
from bailiwick.kernel.errors import InvalidInput
from bailiwick.kernel.outbound import Outbound
from bailiwick.logsources.connectors.interface import Config, Cursor, FetchResult
from bailiwick.logsources.errors import WebhookSignatureInvalid
from bailiwick.logsources.events import MAX_EVENT_ID, LogEvent, Outcome, clean_text, log_event, read_time
from bailiwick.secrets import Secret

SIGNATURE_HEADER = "Bailiwick-Signature"
TOLERANCE_SECONDS = 300
MAX_EVENTS = 1_000
MAX_BODY_BYTES = 1024 * 1024
_MAX_SIGNATURES = 8
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)
_OUTCOMES: dict[str, Outcome] = {"success": "success", "failure": "failure", "unknown": "unknown"}


class CustomWebhook:
    """Connector of source type custom_webhook: there is nothing to fetch, its events come in by themselves."""

    async def fetch(
        self, session: Outbound, config: Config, secret: Secret, cursor: Cursor | None, limit: int
    ) -> FetchResult:
        return FetchResult(events=[], cursor=cursor or {}, more=False)


def sign(secret: Secret, body: bytes, *, at: datetime) -> str:
    """The header's value, as a sender makes it."""
    seconds = str(int(at.timestamp()))
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


class Signature(msgspec.Struct, frozen=True):
    """A header that has the form of one and is fresh; whether it matches is yet to be seen."""

    seconds: str
    digests: list[str]


def read_signature(header: str, *, now: datetime) -> Signature:
    """The header's parts. WebhookSignatureInvalid when it is malformed or outside the tolerance."""
    pairs = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in pairs if name == "t"]
    digests = [value for name, _, value in pairs if name == "v1"][:_MAX_SIGNATURES]
    if len(times) != 1 or not _DIGITS.fullmatch(times[0]) or not digests:
        raise WebhookSignatureInvalid(f"{SIGNATURE_HEADER} is missing or malformed.")
    if abs(now.timestamp() - int(times[0])) > TOLERANCE_SECONDS:
        raise WebhookSignatureInvalid(f"{SIGNATURE_HEADER} is older or newer than {TOLERANCE_SECONDS} s.")
    return Signature(times[0], digests)


def check_signature(secret: Secret, signature: Signature, body: bytes) -> None:
    """WebhookSignatureInvalid unless one of the digests is the body's."""
    expected = _digest(secret, signature.seconds, body)
    # Every one is compared, in constant time each: which of them matched does not show.
    matches = [same(expected, digest.encode("utf-8", "replace").decode()) for digest in signature.digests]
    if not any(matches) or not secret.reveal():
        raise WebhookSignatureInvalid(f"{SIGNATURE_HEADER} does not match the body.")


def read_events(body: bytes) -> list[LogEvent]:
    """The events of a verified body, each id once. InvalidInput names the first thing that is wrong."""
    if len(body) > MAX_BODY_BYTES:
        raise InvalidInput(f"The body is larger than {MAX_BODY_BYTES} bytes.")
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError):
        raise InvalidInput("The body is not JSON.") from None
    given = decoded.get("events", [decoded]) if isinstance(decoded, dict) else None
    if not isinstance(given, list) or len(given) > MAX_EVENTS:
        raise InvalidInput(f"The body must be an event or {{events: [...]}} of at most {MAX_EVENTS}.")
    events = {event.event_id: event for event in (_event(index, item) for index, item in enumerate(given))}
    return list(events.values())


def _event(index: int, item: Any) -> LogEvent:
    def wrong(name: str, expected: str) -> InvalidInput:
        return InvalidInput.of(f"events[{index}]{name}", expected)

    if not isinstance(item, dict):
        raise wrong("", "must be an object")
    event_id, action, at = item.get("id"), item.get("action"), read_time(item.get("at"))
    if not isinstance(event_id, str) or not clean_text(event_id) or len(event_id) > MAX_EVENT_ID:
        raise wrong(".id", f"must be a text of 1-{MAX_EVENT_ID} characters")
    if not isinstance(action, str) or not clean_text(action).strip():
        raise wrong(".action", "must be a text")
    if at is None:
        raise wrong(".at", "must be an RFC 3339 time")
    for name in ("actor", "target"):
        if not isinstance(item.get(name), str | None):
            raise wrong(f".{name}", "must be a text")
    outcome = item.get("outcome", "unknown")
    if not isinstance(outcome, str) or outcome not in _OUTCOMES:
        raise wrong(".outcome", "must be success, failure or unknown")
    attributes = item.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise wrong(".attributes", "must be an object")
    return log_event(
        event_id=event_id,
        at=at,
        action=action,
        actor=item.get("actor"),
        target=item.get("target"),
        outcome=_OUTCOMES[outcome],
        attributes=attributes,
    )


def _digest(secret: Secret, seconds: str, body: bytes) -> str:
    return hmac.new(secret.reveal().encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
