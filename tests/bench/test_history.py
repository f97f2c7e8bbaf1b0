"""A history written for a benchmark is one that the server could have written: it adds up and it verifies."""

from bailiwick import audit, billing, ledger, registry
from bailiwick.bench.history import database_facts, load_history, raise_limits, settle_down
from bailiwick.invocations import list_runs
from bailiwick.invocations.calls import Call
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.dispatch.templates import TemplateTarget
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.records import AGENT_RUN
from bailiwick.invocations.requests import InspectedText
from bailiwick.kernel.clock import now
from bailiwick.kernel.database import Database
from bailiwick.kernel.runtime import runtime
from bailiwick.registry.templates import TemplateContext
from tests.invocations.conftest import Tenant, make_tenant
from tests.invocations.model_calls import upstreams_of

AGENT = "helpdesk-tier1-triage"


async def run_once(tenant: Tenant, database: Database) -> None:
    breaker = CircuitBreaker(failures=5, cooldown_seconds=1)
    exchange = Exchange(runtime().outbound, breaker, attempts=1, connect_seconds=1)
    target = TemplateTarget(
        template=registry.TEMPLATES[AGENT],
        context=TemplateContext(organization_name="", now=now()),
        price_micros=10_000,
        model=None,
        upstreams=upstreams_of(exchange),
    )
    pipeline = Pipeline(database, lease_seconds=300)
    call = Call(
        caller=tenant.caller,
        organization_id=tenant.organization_id,
        kind=AGENT_RUN,
        target=target,
        texts=(InspectedText("Router offline"),),
        charge=tenant.charge,
        stale=lambda _: None,
    )
    await pipeline.invoke(call)
    await pipeline.close()


async def test_history_adds_up_and_verifies(db: Database) -> None:
    tenant = await make_tenant(billing.Plan.PILOT)  # 100 runs
    await run_once(tenant, db)
    await raise_limits(db.url, tenant.organization_id)
    written: list[int] = []
    await load_history(db.url, tenant.organization_id, 1200, written.append)
    assert sum(written) == 1200
    assert (await list_runs(tenant.organization_id, page=1, per_page=1, agent_id=AGENT)).total == 1201
    books = await ledger.check()
    assert books.clean, books.problems
    verdicts = [verdict async for verdict in audit.verify_installation()]
    assert len(verdicts) == 1
    assert verdicts[0].broken is None
    await settle_down(db.url, tenant.organization_id, patience_seconds=0)
    await run_once(tenant, db)  # the head of the chain still fits


async def test_a_database_tells_its_version_and_durability(db: Database) -> None:
    version, settings = await database_facts(db.url)
    assert int(version.split(".")[0]) >= 15
    assert settings["fsync"] == "on"
    assert settings["synchronous_commit"] == "on"
