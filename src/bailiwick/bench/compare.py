"""Fair comparison of measurements on a machine that others use too: alternating rounds, median of each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from statistics import median

from bailiwick.bench.load import LoadResult, Quantiles

Measure = Callable[[], Awaitable[LoadResult]]


async def alternate(measures: Mapping[str, Measure], *, rounds: int) -> AsyncIterator[tuple[str, LoadResult]]:
    """Runs every measure once a round, in turned order each second round, and yields each result as it comes.

    A slow minute then hits all of them, and none always runs right after the same other.
    """
    names = list(measures)
    for turn in range(rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            yield name, await measures[name]()


def median_of(results: Sequence[LoadResult]) -> LoadResult:
    """One result for several rounds of the same load: the median of each figure, the sum of each count.

    The rate is the median of the rounds' rates: `seconds` and `successful` are those of the median round.
    """
    if not results:
        raise ValueError("no rounds to take the median of")
    by_rate = sorted(results, key=lambda result: result.requests_per_second)
    middle = by_rate[(len(by_rate) - 1) // 2]
    statuses: dict[int, int] = {}
    errors: dict[str, int] = {}
    for result in results:
        for status, count in result.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
        for reason, count in result.errors.items():
            errors[reason] = errors.get(reason, 0) + count
    return LoadResult(
        connections=middle.connections,
        seconds=middle.seconds,
        completed=middle.completed,
        successful=middle.successful,
        warmup_successful=sum(result.warmup_successful for result in results),
        statuses=statuses,
        errors=errors,
        latency_us=median_quantiles([result.latency_us for result in results]),
        first_byte_us=median_quantiles([result.first_byte_us for result in results]),
        bytes_received=middle.bytes_received,
        generator_cpu_share=middle.generator_cpu_share,
        refusal=next((result.refusal for result in results if result.refusal), ""),
    )


def median_quantiles(several: Sequence[Quantiles]) -> Quantiles:
    """The median of each figure."""
    return Quantiles(
        p50=median(one.p50 for one in several),
        p95=median(one.p95 for one in several),
        p99=median(one.p99 for one in several),
        maximum=median(one.maximum for one in several),
        mean=median(one.mean for one in several),
    )
