"""Stripe's API, through its own library: the present state of a subscription."""

from __future__ import annotations

import aiohttp
import structlog
from stripe import AIOHTTPClient, StripeClient, StripeError

from bailiwick.billing.litellm import operator_outbound
from bailiwick.billing.stripe_facts import SubscriptionState, state_of
from bailiwick.kernel.errors import BailiwickError
from bailiwick.kernel.runtime import runtime

_TIMEOUT = aiohttp.ClientTimeout(total=8, connect=4)
_log = structlog.get_logger(__name__)


def is_configured() -> bool:
    """Whether this installation may ask Stripe."""
    return runtime().settings.stripe_api_key is not None


async def fetch_subscription(subscription_id: str) -> SubscriptionState | None:
    """The subscription as it is now; None when Stripe cannot tell, so that the event has to be believed."""
    settings = runtime().settings
    if settings.stripe_api_key is None:
        return None
    base = settings.stripe_api_base.rstrip("/")
    try:
        async with operator_outbound(base) as outbound:
            outbound.check(base)
            client = StripeClient(
                settings.stripe_api_key.get_secret_value(),
                base_addresses={"api": base},
                http_client=AIOHTTPClient(timeout=_TIMEOUT, session=outbound.session),
                max_network_retries=1,
            )
            subscription = await client.v1.subscriptions.retrieve_async(subscription_id)
            return state_of(subscription.to_dict())
    except (StripeError, BailiwickError) as error:
        _log.warning("stripe_subscription_not_fetched", error=type(error).__name__)
        return None
