"""Resolving references: order, grants, Google Secret Manager, and what must never show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from aiohttp import web

from bailiwick.kernel.outbound import Outbound
from bailiwick.secrets import (
    EnvironmentSecrets,
    GoogleSecretManager,
    Grants,
    Secret,
    SecretNotFound,
    SecretReferenceInvalid,
    SecretUnavailable,
    resolve,
)
from tests.logsources.stubs.google import Google, account_key
from tests.logsources.stubs.server import serving

MINE, OTHER = UUID(int=1), UUID(int=2)
ENVIRONMENT = {
    "BAILIWICK_SECRET_M365__CONTOSO__AUDIT_SECRET": "from-environment",
    "BAILIWICK_SECRET_M365__CONTOSO__AUDIT_SECRET__ORGANIZATIONS": f"{MINE}",
    "BAILIWICK_SECRET_OPEN": "for-all",
    "BAILIWICK_SECRET_OPEN__ORGANIZATIONS": "*",
    "BAILIWICK_SECRET_STRIPE": "the-installation's-own",
    "BAILIWICK_SECRET_MANAGED__ORGANIZATIONS": f"{OTHER}, {MINE}",
}
GRANTS = Grants(ENVIRONMENT)


async def test_the_environment_gives_what_is_granted_and_nothing_else() -> None:
    providers = [EnvironmentSecrets(GRANTS, ENVIRONMENT)]
    assert (await resolve("m365__contoso__audit-secret", MINE, providers)).reveal() == "from-environment"
    assert (await resolve("open", OTHER, providers)).reveal() == "for-all"
    for reference, organization in [("m365__contoso__audit-secret", OTHER), ("stripe", MINE), ("unknown", MINE)]:
        with pytest.raises(SecretNotFound):
            await resolve(reference, organization, providers)


@pytest.mark.parametrize("reference", ["", "a" * 256, "a/b", "a.b", "ä", "a\n"])
async def test_malformed_references(reference: str) -> None:
    with pytest.raises(SecretReferenceInvalid):
        await resolve(reference, MINE, [EnvironmentSecrets(GRANTS, ENVIRONMENT)])


@pytest.fixture
async def google() -> AsyncIterator[tuple[Google, GoogleSecretManager]]:
    stub, outbound = Google(), Outbound(frozenset({"127.0.0.1"}))
    async with serving(stub.app()) as url:
        yield (
            stub,
            GoogleSecretManager(
                outbound,
                GRANTS,
                project="acme-1",
                account_key=Secret(account_key()),
                now=lambda: datetime.now(UTC),
                base_url=url,
                token_url=f"{url}/token",
            ),
        )
    await outbound.close()


async def test_google_secret_manager(google: tuple[Google, GoogleSecretManager]) -> None:
    stub, manager = google
    stub.secrets = {"managed": "päss".encode(), "stripe": b"the-installation's-own"}
    assert (await resolve("managed", MINE, [manager])).reveal() == "päss"
    with pytest.raises(SecretNotFound):
        await resolve("stripe", MINE, [manager])
    stub.secrets = {}
    with pytest.raises(SecretNotFound):
        await resolve("managed", MINE, [manager])


@pytest.mark.parametrize(
    "answer", [web.Response(status=500), web.Response(text="no"), web.json_response({"payload": {"data": "%%"}})]
)
async def test_an_unusable_answer_is_unavailable_not_absent(
    google: tuple[Google, GoogleSecretManager], answer: web.Response
) -> None:
    stub, manager = google
    stub.answers = [answer]
    with pytest.raises(SecretUnavailable):
        await resolve("managed", MINE, [manager])


def test_a_secret_does_not_show() -> None:
    secret = Secret('{"client_id": "the-client", "client_secret": "s3cret-value"}')
    assert "s3cret" not in f"{secret} {secret!r}"
    assert secret.scrub("the-client sent s3cret-value") == "the-client sent [secret]"
