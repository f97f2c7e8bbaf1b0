"""`bailiwick bench gateway`: model calls through the gateway beside nginx and LiteLLM's proxy, all on the same stub.

What a proxy adds is its latency less that of the stub called directly, in the same round and at as many connections.
"""

import contextlib
from dataclasses import dataclass, replace
from typing import Final, Self

from rich.progress import Progress

from bailiwick.bench import peers
from bailiwick.bench.processes import OwnServer, largest_worker_mib
from bailiwick.bench.report import Measurement, SoakPoint
from bailiwick.bench.side_by_side import Benchmark, Options, Proxy
from bailiwick.bench.subject import bailiwick
from bailiwick.bench.targets import Requests, Target, messages, posts

GATEWAY, STUB, NGINX, LITELLM = "Bailiwick gateway", "stub model, direct", "nginx", "LiteLLM proxy"
SOAK_STEP: Final = 10_000
SOAK_CONNECTIONS: Final = 32
SOAK_SECONDS: Final = 120.0
"""The longest that the requests of one step may take; what is missing then, later steps do not make up."""
WIDE: Final = 32
"""Connections at which further numbers of workers are compared."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of call, as a client of OpenAI or Anthropic makes it."""

    name: str
    path: str
    model: str = "stub"
    streams: bool = False
    ending: bytes = b""
    """What its streams end with."""

    def body(self, message: str) -> dict[str, object]:
        """A request of the scenario."""
        body: dict[str, object] = {"model": self.model, "messages": [{"role": "user", "content": message}]}
        if self.path == MESSAGES_PATH:
            body["max_tokens"] = 1024
        return body | ({"stream": True} if self.streams else {})

    def headers(self, key: str) -> dict[str, str]:
        """The key as the client sends it."""
        if self.path == MESSAGES_PATH:
            return {"x-api-key": key, "anthropic-version": "2023-06-01"}
        return {"Authorization": f"Bearer {key}"} if key else {}


CHAT_PATH, MESSAGES_PATH = "/v1/chat/completions", "/v1/messages"
CHAT = Scenario(name="chat", path=CHAT_PATH)
STREAM = Scenario(name="stream", path=CHAT_PATH, streams=True, ending=b"data: [DONE]")
MESSAGES = Scenario(name="messages", path=MESSAGES_PATH, model="stub-anthropic")
MESSAGES_STREAM = Scenario(
    name="messages-stream",
    path=MESSAGES_PATH,
    model="stub-anthropic",
    streams=True,
    ending=b'message_stop"}',
)
SCENARIOS = {one.name: one for one in (CHAT, STREAM, MESSAGES, MESSAGES_STREAM)}


@dataclass(frozen=True, kw_only=True)
class GatewayOptions(Options):
    """With the kinds of calls, and how many to watch the memory for."""

    scenarios: tuple[str, ...] = ("chat", "stream")
    """Of SCENARIOS."""
    soak: int = 100_000
    """Requests over which the memory is watched, in steps of 10,000; 0: none."""

    def quick(self) -> Self:
        """Without the soak."""
        return replace(super().quick(), soak=0)


def requests(scenarios: tuple[Scenario, ...], *, port: int, key: str) -> Requests:
    """Those of all the scenarios in turn."""

    async def render() -> tuple[bytes, ...]:
        rendered = [
            posts(one.path, port=port, headers=one.headers(key), bodies=[one.body(text) for text in messages()])
            for one in scenarios
        ]
        return tuple(request for turn in zip(*rendered, strict=True) for request in turn)

    return render


class GatewayBenchmark(Benchmark[GatewayOptions]):
    """One run of the benchmark."""

    name = "gateway"

    async def measure_all(self) -> None:
        """Each number of workers beside the peers, then the memory over many requests."""
        async with peers.stub_model(self.folder / "stub") as stub:
            with self.console.status("First start, which makes the database"):
                async with bailiwick(self.folder, workers=1, database_url=self.options.database_url) as server:
                    first = server.start_up_seconds
            self.note(f"The first start of Bailiwick, which makes its database, took {first:.1f} s.")
            for workers in self.options.workers:
                await self.measure_beside_peers(stub, workers)
            if self.options.soak > 0:
                await self.watch_memory(stub)

    async def measure_beside_peers(self, stub: OwnServer, workers: int) -> None:
        """Every scenario on all servers, with the first number of workers at all numbers of connections."""
        is_first = workers == self.options.workers[0]
        connections = self.options.connections
        if not is_first:
            connections = tuple(count for count in connections if count == WIDE) or connections[-1:]
        async with contextlib.AsyncExitStack() as stack:
            subject = await stack.enter_async_context(self.subject(f"gateway-{workers}", workers, stub.port))
            proxies = {GATEWAY: Proxy(server=subject.server, key=subject.tenant.virtual_key)}
            if self.options.with_peers:
                if is_first and (nginx := await self.start_nginx(stack, stub)):
                    proxies[NGINX] = nginx
                if litellm := await self.start_litellm(stack, stub, workers):
                    proxies[LITELLM] = litellm
            loads = {
                name: [
                    self.target(STUB, Proxy(server=stub), SCENARIOS[name], workers=1, is_reported=is_first),
                    *(self.target(title, proxy, SCENARIOS[name]) for title, proxy in proxies.items()),
                ]
                for name in self.options.scenarios
            }
            with self.console.status("Warming up"):
                for targets in loads.values():
                    for target in targets:
                        await target.warm_up()
            called, recorded = await peers.calls_answered(stub), await subject.tenant.model_calls_recorded()
            begun = len(self.report.measurements)
            for name, targets in loads.items():
                await self.measure(targets, workers, connections=connections, scenario=name, baseline=STUB)
            called = await peers.calls_answered(stub) - called
            recorded = await subject.tenant.model_calls_recorded() - recorded
            self.check_record(workers, self.report.measurements[begun:], recorded, called)
            for title, proxy in proxies.items():
                self.note_footprint(title, proxy.server, 1 if title == NGINX else workers)

    def target(
        self, name: str, proxy: Proxy, scenario: Scenario, *, workers: int = 0, is_reported: bool = True
    ) -> Target:
        """A server with the calls of a scenario."""
        return Target(
            name=name,
            server=proxy.server,
            requests=requests((scenario,), port=proxy.server.port, key=proxy.key),
            database=self.data_dir if name == GATEWAY and self.options.database_url is None else None,
            workers=1 if name == NGINX else workers,
            warmup_seconds=proxy.warmup_seconds,
            streaming=scenario.streams,
            ending=scenario.ending,
            is_reported=is_reported,
        )

    def check_record(self, workers: int, measured: list[Measurement], recorded: int, called: int) -> None:
        """Notes whether every call that was answered is on record, and that none was answered without the model.

        `called`: how many calls reached the stub meanwhile.
        """
        answered = sum(one.load.all_successful for one in measured if one.target == GATEWAY)
        self.note_recorded("model calls", workers, answered, recorded)
        if called < sum(one.load.all_successful for one in measured):
            self.note(f"ONLY {called:,} calls reached the stub: some were answered by who stands in front of it.")

    async def watch_memory(self, stub: OwnServer) -> None:
        """One server with one worker under calls of all scenarios in turn; its memory after each step."""
        scenarios = tuple(SCENARIOS[name] for name in self.options.scenarios)
        endings = {one.ending for one in scenarios if one.streams}
        async with self.subject("gateway-soak", 1, stub.port) as subject:
            server = subject.server
            target = Target(
                name=GATEWAY,
                server=server,
                requests=requests(scenarios, port=server.port, key=subject.tenant.virtual_key),
                warmup_seconds=0.0,
                ending=endings.pop() if len(endings) == 1 else b"",
            )
            done = 0
            with Progress(console=self.console, transient=True) as progress:
                task = progress.add_task("Memory over many requests", total=self.options.soak)
                while done < self.options.soak:
                    most = min(SOAK_STEP, self.options.soak - done)
                    load = await target.measure(SOAK_CONNECTIONS, SOAK_SECONDS, maximum_requests=most)
                    done += most
                    progress.update(task, completed=done)
                    processes = server.memory()
                    self.report.soak.append(
                        SoakPoint(
                            requests=load.completed + (self.report.soak[-1].requests if self.report.soak else 0),
                            resident_mib=round(sum(one.resident_mib for one in processes), 1),
                            worker_resident_mib=round(largest_worker_mib(processes), 1),
                            load=load,
                        )
                    )

    def aims(self) -> list[str]:
        """Rate and added latency beside LiteLLM's, and memory."""
        found = []
        for scenario in self.options.scenarios:
            for workers in self.options.workers:
                ours = self.report.find(GATEWAY, workers=workers, connections=WIDE, scenario=scenario)
                theirs = self.report.find(LITELLM, workers=workers, connections=WIDE, scenario=scenario)
                if ours and theirs and theirs.load.requests_per_second:
                    ratio = ours.load.requests_per_second / theirs.load.requests_per_second
                    found.append(
                        f"{scenario}, {workers} worker(s), {WIDE} connections: {ratio:.1f} times the requests a second"
                        " of LiteLLM's proxy (aim 12)."
                    )
            found += self.added_beside_peer(scenario)
        ours_in_memory = [one for one in self.report.footprints if one.target == GATEWAY]
        if ours_in_memory:
            largest = max(one.worker_resident_mib for one in ours_in_memory)
            found.append(f"The largest worker has {largest:.0f} MiB resident after its loads (aim under 250 MB).")
        if len(self.report.soak) > 1:
            first, last = self.report.soak[0], self.report.soak[-1]
            found.append(
                f"From {first.requests:,} to {last.requests:,} requests a worker grew by"
                f" {last.worker_resident_mib - first.worker_resident_mib:+.0f} MiB (aim: flat)."
            )
        return found

    def added_beside_peer(self, scenario: str) -> list[str]:
        """The note on what is added at one connection; empty where that was not measured."""
        ours, theirs = (
            self.report.find(name, workers=self.options.workers[0], connections=1, scenario=scenario)
            for name in (GATEWAY, LITELLM)
        )
        if not (ours and theirs and ours.added_us and theirs.added_us and theirs.added_us.p50 > 0):
            return []
        share = ours.added_us.p50 / theirs.added_us.p50
        return [
            f"{scenario}, one connection: {ours.added_us.p50 / 1000:.2f} ms added at the median,"
            f" {share:.2f} of LiteLLM's {theirs.added_us.p50 / 1000:.2f} ms (aim 0.2)."
        ]
