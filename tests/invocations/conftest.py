"""A funded tenant, a pipeline and a model server that does what a test tells it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from bailiwick import billing, identity, ledger
from bailiwick.identity import Caller, Founder
from bailiwick.invocations.deployments import Deployment
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.requests import Charge
from bailiwick.kernel.clock import now
from bailiwick.kernel.cross_tenant import CrossTenantUse
from bailiwick.kernel.database import Database, system_transaction, tenant_transaction
from bailiwick.kernel.outbound import Outbound
from tests.api.accounts import new_email

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Tenant(msgspec.Struct, frozen=True):
    """A provisioned organisation and its owner."""

    organization_id: UUID
    caller: Caller

    async def charge(self) -> Charge:
        """Where its money comes from, read anew."""
        async with tenant_transaction(self.organization_id) as session:
            terms = await billing.invocation_terms(session, self.organization_id)
        assert terms is not None
        assert terms.account_id is not None
        return Charge(
            organization_version=terms.organization_version,
            virtual_key_id=terms.key_id,
            account_id=terms.account_id,
            sink_account_id=terms.sink_account_id,
            budget_ids=(terms.runs_budget_id,),
        )

    async def rows(self, query: str) -> list[Any]:
        """Rows of its own, as the system role sees them; `:organization` stands for its id."""
        async with system_transaction(CrossTenantUse.VERIFY) as session:
            return list((await session.execute(text(query), {"organization": self.organization_id})).mappings())

    async def money(self) -> tuple[int, int]:
        """Balance and held amount of its key's account, in micro-dollars."""
        charge = await self.charge()
        async with tenant_transaction(self.organization_id) as session:
            account = await ledger.get_account(session, self.organization_id, charge.account_id)
        return account.balance, account.held

    async def last(self) -> Any:
        """Its latest invocation that has ended."""
        return (
            await self.rows("select * from invocations where organization_id = :organization order by id desc limit 1")
        )[0]


async def make_tenant(plan: billing.Plan = billing.Plan.PRO) -> Tenant:
    """A new organisation on `plan`."""
    signed_up = await identity.sign_up(Founder(email=new_email(), password="correct horse", name="Owner"))
    caller = await identity.authenticate(signed_up.key_plaintext)
    await billing.provision_tenant(caller, organization=str(caller.organization_name), plan=plan)
    return Tenant(caller.tenant, caller)


def end_leases(db: Database) -> None:
    """Makes the leases of all open holds ones that are over."""
    with psycopg.connect(db.url, autocommit=True) as superuser:
        superuser.execute("update holds set lease_expires_at = now() - interval '1 second' where state = 'open'")


@pytest.fixture
async def tenant(db: Database) -> Tenant:
    """A provisioned organisation on plan pro: 1000 runs, 50 USD."""
    return await make_tenant()


@pytest.fixture
async def pipeline(db: Database) -> AsyncIterator[Pipeline]:
    """A pipeline on the test's database."""
    opened = Pipeline(db, lease_seconds=300)
    yield opened
    await opened.drain(5)
    await opened.close()


class ModelServer:
    """A model server on loopback; `answer` is what it does with each request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Answer = partial(json_answer, text="Hello.")
        self.disconnected = asyncio.Event()
        self.base_url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.paths.append(request.path_qs)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        try:
            return await self.answer(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.disconnected.set()
            raise

    def deployment(self, **more: Any) -> Deployment:
        """A deployment of the model `fast` here: 1 USD for a million input tokens, 2 for output."""
        given: dict[str, Any] = {
            "name": "fast",
            "provider": "openai",
            "model": "stub-1",
            "protocol": "openai",
            "base_url": self.base_url,
            "api_key": "sk-test",
            "input_price": 0.000001,
            "output_price": 0.000002,
            "max_output_tokens": 1000,
        }
        return Deployment(**(given | more))


async def json_answer(
    _request: web.Request, *, text: str, input_tokens: int = 100, output_tokens: int = 50
) -> web.StreamResponse:
    """A chat completion."""
    return web.json_response(
        {
            "choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": input_tokens, "completion_tokens": output_tokens},
        }
    )


@contextlib.asynccontextmanager
async def running_model_server() -> AsyncIterator[ModelServer]:
    """A model server on a free port."""
    server = ModelServer()
    application = web.Application()
    application.router.add_post("/{path:.*}", server.handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    server.base_url = f"http://127.0.0.1:{port}"
    yield server
    await runner.cleanup()


@pytest.fixture
async def model(db: Database) -> AsyncIterator[ModelServer]:
    """A running model server."""
    async with running_model_server() as server:
        yield server


@pytest.fixture
async def exchange(model: ModelServer) -> AsyncIterator[Exchange]:
    """Calls to other servers, with a breaker that opens after three failures."""
    outbound = Outbound(frozenset({"127.0.0.1"}))
    yield Exchange(outbound, CircuitBreaker(failures=3, cooldown_seconds=60), attempts=3, connect_seconds=20)
    await outbound.close()


@pytest.fixture(scope="session")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1 that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    moment = now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("certificate") / "both.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
