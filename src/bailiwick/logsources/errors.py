"""What can go wrong with log sources.

Of use cases (kernel's family):
    LogSourceNotFound        404
    LogSourceForeign         403  removing another organization's
    LogSourceDisabled        409  events for a source that is switched off
    WebhookSignatureInvalid  400
Of a fetch; `str()` is what the organization reads as the source's `fetch_error`:
    FetchFailed              the cursor stays before what failed, so nothing is skipped
    ├── ConfigUnusable       the source's `config` or the form of its secret does not do for this provider
    ├── SecretRefused        the provider does not accept the secret
    ├── Throttled            the provider asks to wait
    ├── ProviderRefused      any other refusal, with the provider's status and code
    └── AnswerUnusable       not what the provider documents: no JSON, another form, endless pages
"""

from bailiwick.kernel.errors import BailiwickError, Conflict, Forbidden, NotFound
from bailiwick.logsources.events import clean_text

MAX_REASON = 500


class LogSourceNotFound(NotFound):
    """Log source not found"""


class LogSourceForeign(Forbidden):
    """Forbidden"""


class LogSourceDisabled(Conflict):
    """This log source is disabled: it takes no events."""

    code = "LOG_SOURCE_DISABLED"


class WebhookSignatureInvalid(BailiwickError):
    """The request is not signed as it must be."""

    status, code = 400, "WEBHOOK_SIGNATURE_INVALID"


class FetchFailed(Exception):
    """`reason` is one sentence without credentials."""

    def __init__(self, reason: str) -> None:
        self.reason = clean_text(reason)[:MAX_REASON]
        super().__init__(self.reason)


class ConfigUnusable(FetchFailed):
    """Mends itself only when the organization changes the source."""


class SecretRefused(FetchFailed):
    """401, or a refused token grant."""


class Throttled(FetchFailed):
    """429 or 503; `retry_after_seconds` when the provider said how long."""

    def __init__(self, provider: str, retry_after_seconds: int | None) -> None:
        wait = f" and asks to wait {retry_after_seconds} s" if retry_after_seconds is not None else ""
        super().__init__(f"{provider} limits the rate of requests{wait}; the next fetch goes on from here.")
        self.retry_after_seconds = retry_after_seconds


class ProviderRefused(FetchFailed):
    """`status` is HTTP's, `code` the provider's own word for it, or empty."""

    def __init__(self, provider: str, status: int, code: str, message: str) -> None:
        detail = f": {message}" if message else ""
        shown = f" {code}" if code else ""
        super().__init__(f"{provider} refused the request (status {status}{shown}){detail}")
        self.status, self.code = status, code


class AnswerUnusable(FetchFailed):
    """The provider's answer cannot be worked with."""
