"""Why a fetch did not work. `str()` is what the organization reads as the source's `fetch_error`.

FetchFailed            base; the cursor stays where it was, so nothing is skipped
├── ConfigUnusable     the source's `config` or the form of its secret does not do for this provider
├── SecretRefused      the provider does not accept the secret
├── Throttled          the provider asks to wait
├── ProviderRefused    any other refusal, with the provider's status and code
└── AnswerUnusable     an answer that is not what the provider documents: no JSON, too large, endless pages
WebhookRefused         an inbound request that is not signed as it must be, or not readable
"""

MAX_REASON = 500


class FetchFailed(Exception):
    """`reason` is one sentence without credentials."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:MAX_REASON])
        self.reason = reason[:MAX_REASON]


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


class WebhookRefused(Exception):
    """`reason` says what is wrong with the request; `authentic` tells a bad signature from a bad body."""

    def __init__(self, reason: str, *, authentic: bool) -> None:
        super().__init__(reason)
        self.reason, self.authentic = reason, authentic
