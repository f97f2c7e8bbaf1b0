"""Every setting: name, type, default, one line of meaning. Read once, at the start.

A setting `data_dir` is the environment variable `BAILIWICK_DATA_DIR` or the same line in `.env`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]


def _beginning(*schemes: str) -> AfterValidator:
    """Holds an address to its schemes; what is wrong is told without the address, which may hold a password."""

    def check(value: str | SecretStr) -> str | SecretStr:
        address = value.get_secret_value() if isinstance(value, SecretStr) else value
        scheme, separator, rest = address.partition("://")
        if scheme.lower() not in schemes or not separator or not rest:
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return value

    return AfterValidator(check)


HttpUrl = Annotated[str, _beginning("http", "https")]
SmtpUrl = Annotated[SecretStr, _beginning("smtp", "smtps")]
PostgresUrl = Annotated[SecretStr, _beginning("postgresql", "postgres")]


class _Group(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ServerSettings(_Group):
    """Where the server listens and what it accepts."""

    host: str = "127.0.0.1"
    """Address that the server listens on."""
    port: Port = 8080
    """Port that the server listens on."""
    workers: Positive = 1
    """Server processes that answer requests."""
    public_url: HttpUrl | None = None
    """Address under which clients reach the server, for links and token issuer; default http://host:port."""
    max_body_bytes: Positive = 4 * 1024 * 1024
    """Largest request body."""
    gateway_body_bytes: Positive = 32 * 1024 * 1024
    """Largest body of a model call."""
    body_timeout_seconds: Positive = 30
    """How long a request's body may take to arrive."""
    shutdown_seconds: Positive = 30
    """How long a stopping server waits for work in flight."""
    background_worker: bool = True
    """Whether `serve` also runs the background worker (schedules, sweeps) beside the server processes."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is logged."""
    log_format: Literal["json", "console"] = "json"
    """Form of the log lines."""
    access_log: bool = False
    """Whether each request is logged (method, path, status, time; never content)."""


class DatabaseSettings(_Group):
    """The database."""

    data_dir: Path = Path(".bailiwick")
    """Folder of the embedded database, the installation key and other files of this installation."""
    database_url: PostgresUrl | None = None
    """Any PostgreSQL 15 or later (postgresql://...); default: the embedded server in the data folder."""
    database_pool_size: Positive = 8
    """Connections of one server process for ordinary use cases (the process has two more of its own)."""
    statement_timeout_seconds: Positive = 30
    """How long one statement may run."""
    master_key: SecretStr | None = None
    """Base64 of the 32-byte installation key; default: master.key in the data folder."""


class IdentitySettings(_Group):
    """Sign-up, tokens and external issuers."""

    signup_enabled: bool = True
    """Whether anyone may sign up."""
    access_token_seconds: Positive = 900
    """Lifetime of an access token."""
    refresh_token_days: Positive = 30
    """Lifetime of a refresh token."""
    trial_days: Positive = 14
    """Length of the free trial."""
    oidc_issuers: list[OidcIssuer] = Field(default_factory=list)
    """External issuers (JSON list of {issuer, audience?, jwks_url?}) whose tokens (org_id, org_role) are accepted."""
    login_attempts_per_minute: Positive = 10
    """Log-in attempts for one e-mail address in a minute."""
    resend_verification_per_minute: Positive = 2
    """Verification mails for one e-mail address in a minute."""


class OidcIssuer(BaseModel, frozen=True):
    """An external OpenID Connect issuer."""

    issuer: str
    audience: str | None = None
    jwks_url: str | None = None


class MailSettings(_Group):
    """Outgoing e-mail."""

    smtp_url: SmtpUrl | None = None
    """smtp://user:password@host:port or smtps://...; default: mail is stored and read with `bailiwick mail`."""
    mail_from: str = "Bailiwick <noreply@bailiwick.invalid>"
    """Sender of e-mail."""


class InvocationSettings(_Group):
    """The invocation pipeline."""

    models: Path | None = None
    """YAML file with a `model_list` in LiteLLM's form."""
    hosted_agents_model: str | None = None
    """Name of the model that hosted templates use; default: their own rule engines."""
    hosted_run_price_micros: Annotated[int, Field(ge=0)] = 10_000
    """Price of one hosted run in micro-dollars, besides what its model costs."""
    hold_lease_seconds: Positive = 300
    """How long a hold may stand before the sweeper gives the amount back."""
    sweep_interval_seconds: Positive = 15
    """How often expired holds are swept."""
    connect_timeout_seconds: Positive = 5
    """Time to reach a target."""
    dispatch_timeout_seconds: Positive = 120
    """Time that a target has for its whole answer, all attempts included."""
    first_token_timeout_seconds: Positive = 60
    """Time that a model has for the first piece of a streamed answer."""
    idle_timeout_seconds: Positive = 60
    """Longest silence between two pieces of a streamed answer."""
    dispatch_attempts: Annotated[int, Field(ge=1, le=5)] = 3
    """Attempts at a target that fails in a way that may pass (429, 5xx, connection)."""
    breaker_failures: Positive = 5
    """Failures in a row after which a target is left alone."""
    breaker_cooldown_seconds: Positive = 30
    """How long a target is left alone."""


class OutboundSettings(_Group):
    """Calls to other servers."""

    outbound_allowed_hosts: list[str] = Field(default_factory=list)
    """Hosts (or host:port, JSON list) that may be called although they are private or loopback."""
    outbound_proxy_url: HttpUrl | None = None
    """HTTP proxy for outbound calls. It looks names up itself, and so must itself refuse those of private addresses."""
    litellm_url: HttpUrl | None = None
    """LiteLLM proxy that issues virtual keys; default: our own gateway issues them."""
    litellm_master_key: SecretStr | None = None
    """Key for LiteLLM's key API."""
    google_credentials: Path | None = None
    """Service account file for Google Secret Manager."""
    google_project: str | None = None
    """Project whose Secret Manager holds secrets referred to by name."""
    log_source_interval_seconds: Positive = 300
    """How often log sources are fetched."""


class BillingSettings(_Group):
    """Stripe."""

    stripe_webhook_secret: SecretStr | None = None
    """Secret of the Stripe webhook (also looked up as the secret stripe__hosted-agents__webhook-secret)."""
    stripe_api_key: SecretStr | None = None
    """Key for Stripe's API."""
    stripe_api_base: HttpUrl = "https://api.stripe.com"
    """Base URL of Stripe's API."""


class AuditSettings(_Group):
    """The audit log."""

    audit_checkpoint_seconds: Positive = 60
    """How often a signed checkpoint is made for each log that has grown."""


class TelemetrySettings(_Group):
    """Traces and metrics."""

    otlp_endpoint: HttpUrl | None = None
    """OTLP/HTTP endpoint for traces; default: none are made."""
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of invocations that are traced."""
    metrics_token: SecretStr | None = None
    """Bearer token that /metrics asks for; default: none."""


class Settings(
    ServerSettings,
    DatabaseSettings,
    IdentitySettings,
    MailSettings,
    InvocationSettings,
    OutboundSettings,
    BillingSettings,
    AuditSettings,
    TelemetrySettings,
    BaseSettings,
):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix="BAILIWICK_", env_file=".env", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    @property
    def base_url(self) -> str:
        """Address under which clients reach the server."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


IdentitySettings.model_rebuild()
Settings.model_rebuild()

GROUPS: tuple[type[BaseModel], ...] = (
    ServerSettings,
    DatabaseSettings,
    IdentitySettings,
    MailSettings,
    InvocationSettings,
    OutboundSettings,
    BillingSettings,
    AuditSettings,
    TelemetrySettings,
)


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()
