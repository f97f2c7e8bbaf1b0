"""`bailiwick bench invoke`: governed runs beside the plainest answer of the same server and beside other proxies.

All servers run here, on loopback, on the same stub model; each figure is the median of alternating rounds.
"""

import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from rich.progress import Progress

from bailiwick.bench import peers
from bailiwick.bench.compare import median_of
from bailiwick.bench.history import load_history, organization_uuid, settle_down
from bailiwick.bench.load import render_request
from bailiwick.bench.processes import OwnServer
from bailiwick.bench.report import GrowthPoint
from bailiwick.bench.side_by_side import Benchmark, Options
from bailiwick.bench.subject import Tenant
from bailiwick.bench.targets import Requests, Target, messages, posts

AGENT = "helpdesk-tier1-triage"
RUN_PATH = "/api/v1/agent/run"
HEALTH, RUN, RUN_MODEL = "Bailiwick GET /health", "Bailiwick governed run", "Bailiwick governed run, model"
STUB, NGINX, LITELLM = "stub model, direct", "nginx, model", "LiteLLM proxy, model"
GROWTH_ROWS = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True, kw_only=True)
class InvokeOptions(Options):
    """With growth, which nothing else measures."""

    with_growth: bool = True
    growth_rows: tuple[int, ...] = GROWTH_ROWS

    def quick(self) -> Self:
        """With no growth beyond 10,000 rows."""
        return replace(super().quick(), growth_rows=self.growth_rows[:1])


def run_requests(tenant: Tenant) -> Requests:
    """Governed runs of a tenant, with an access token of the moment."""

    async def render() -> tuple[bytes, ...]:
        headers = {"Authorization": await tenant.bearer()}
        bodies: list[dict[str, object]] = [{"agentId": AGENT, "message": message} for message in messages()]
        return posts(RUN_PATH, port=tenant.port, headers=headers, bodies=bodies)

    return render


def chat_requests(port: int, key: str = "") -> Requests:
    """Chat completions of the stub model, at a gateway (`key`) or at the stub itself."""

    async def render() -> tuple[bytes, ...]:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        bodies: list[dict[str, object]] = [
            {"model": "stub", "messages": [{"role": "user", "content": message}]} for message in messages()
        ]
        return posts("/v1/chat/completions", port=port, headers=headers, bodies=bodies)

    return render


def health_requests(port: int) -> Requests:
    """What a server answers without any work."""

    async def render() -> tuple[bytes, ...]:
        return (render_request("GET", "/health", port=port),)

    return render


class InvokeBenchmark(Benchmark[InvokeOptions]):
    """One run of the benchmark."""

    name = "invoke"

    async def measure_all(self) -> None:
        """Each number of workers beside the peers, then growth."""
        async with peers.stub_model(self.folder / "stub") as stub:
            for workers in self.options.workers:
                await self.measure_beside_peers(stub, workers)
                await self.measure_with_model(stub, workers)
        if self.options.with_growth:
            await self.measure_growth()

    async def measure_beside_peers(self, stub: OwnServer, workers: int) -> None:
        """Governed runs without a model and /health, with the proxies between them when they are wanted."""
        async with contextlib.AsyncExitStack() as stack:
            subject = await stack.enter_async_context(self.subject(f"plain-{workers}", workers))
            targets = [
                Target(name=HEALTH, server=subject.server, requests=health_requests(subject.server.port)),
                Target(name=RUN, server=subject.server, requests=run_requests(subject.tenant), database=self.data_dir),
            ]
            if self.options.with_peers:
                targets += await self.start_peers(stack, stub, workers)
            recorded = await subject.tenant.runs_recorded()
            await self.measure(targets, workers)
            self.check_record(workers, await subject.tenant.runs_recorded() - recorded)
            for target in targets[1:]:
                if target.server is not stub:
                    self.note_footprint(target.name, target.server, target.workers or workers)

    async def start_peers(self, stack: contextlib.AsyncExitStack, stub: OwnServer, workers: int) -> list[Target]:
        """The stub itself, nginx and LiteLLM's proxy; one that cannot be had is noted and left out."""
        found = []
        if workers == self.options.workers[0]:
            found.append(Target(name=STUB, server=stub, requests=chat_requests(stub.port), workers=1))
            if proxy := await self.start_nginx(stack, stub):
                requests = chat_requests(proxy.server.port)
                found.append(Target(name=NGINX, server=proxy.server, requests=requests, workers=1))
        if proxy := await self.start_litellm(stack, stub, workers):
            requests = chat_requests(proxy.server.port, proxy.key)
            found.append(
                Target(name=LITELLM, server=proxy.server, requests=requests, warmup_seconds=proxy.warmup_seconds)
            )
        return found

    async def measure_with_model(self, stub: OwnServer, workers: int) -> None:
        """Governed runs whose answer comes from the stub model through Bailiwick's own dispatch."""
        async with self.subject(f"model-{workers}", workers, stub.port) as subject:
            requests = run_requests(subject.tenant)
            target = Target(name=RUN_MODEL, server=subject.server, requests=requests, database=self.data_dir)
            await self.measure([target], workers)
            self.note_footprint(target.name, target.server, workers)

    async def measure_growth(self) -> None:
        """The same two loads as the organisation's record grows."""
        async with self.subject("growth", 1) as subject:
            target = Target(
                name=RUN, server=subject.server, requests=run_requests(subject.tenant), database=self.data_dir
            )
            await subject.tenant.call("POST", RUN_PATH, {"agentId": AGENT, "message": messages()[0]})
            for rows in self.options.growth_rows:
                await self.write_history(subject.tenant, rows)
                recorded = await subject.tenant.runs_recorded()
                with self.console.status(f"Measuring at {recorded:,} runs"):
                    alone, together = [
                        median_of(
                            [await target.measure(count, self.options.seconds) for _ in range(self.options.rounds)]
                        )
                        for count in (1, 32)
                    ]
                self.report.growth.append(GrowthPoint(rows=recorded, alone=alone, together=together))

    async def write_history(self, tenant: Tenant, rows: int) -> None:
        """Brings the tenant's record up to `rows` runs, and waits for what that causes in the background."""
        organization_id = organization_uuid(tenant.organization_id)
        missing = max(rows - await tenant.runs_recorded(), 0)
        with Progress(console=self.console, transient=True) as progress:
            task = progress.add_task(f"Writing history up to {rows:,} runs", total=missing)
            advance = partial(progress.advance, task)
            await load_history(self.database_url(), organization_id, missing, advance)
        with self.console.status("Letting the database settle"):
            await settle_down(self.database_url(), organization_id)

    def check_record(self, workers: int, recorded: int) -> None:
        """Notes whether every answered run is on record: the figures would mean little otherwise."""
        loads = (one.load for one in self.report.measurements if one.target == RUN and one.workers == workers)
        self.note_recorded("governed runs", workers, sum(load.all_successful for load in loads), recorded)

    def aims(self) -> list[str]:
        """How the figures stand to what the project set out for a machine of two cores."""
        find = self.report.find
        found = []
        together, alone = find(RUN, workers=1, connections=32), find(RUN, workers=1, connections=1)
        modelled, rival = find(RUN_MODEL, workers=1, connections=32), find(LITELLM, workers=1, connections=32)
        if together:
            rate = together.load.requests_per_second
            found.append(f"Governed runs at 32 connections, one worker: {rate:,.0f}/s (aim 2,500, stretch 4,000).")
        if alone:
            found.append(f"p50 at one connection: {alone.load.latency_us.p50 / 1000:.2f} ms (aim under 2.5).")
        for name, ours in (("without", together), ("with", modelled)):
            if ours and rival and rival.load.requests_per_second:
                ratio = ours.load.requests_per_second / rival.load.requests_per_second
                found.append(f"{ratio:,.0f} times LiteLLM's proxy at 32 connections, {name} a model call (aim 20).")
        if len(self.report.growth) > 1:
            first, last = self.report.growth[0], self.report.growth[-1]
            share = last.together.requests_per_second / max(first.together.requests_per_second, 1e-9)
            found.append(f"Throughput at {last.rows:,} runs is {share:.0%} of that at {first.rows:,}.")
        return found
