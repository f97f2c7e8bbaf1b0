"""An admitted invocation on its way: what is known of it so far, and what is decided of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from bailiwick.invocations.cuts import Cuttable
from bailiwick.invocations.errors import AllowanceExhausted, OutputBlocked
from bailiwick.invocations.inspection import InspectionPolicy, inspect
from bailiwick.invocations.requests import Admission, Admitted, Decision, InspectedText, Inspection, Usage
from bailiwick.invocations.spans import Timeline

_MUCH = 100_000
"""Code points that take some milliseconds to inspect."""
_LITTLE = 8_000
"""Code points that are inspected in less time than an admission takes."""
_STRICTNESS = {decision: rank for rank, decision in enumerate(Decision)}


def inspected_ahead(texts: Sequence[InspectedText], policy: InspectionPolicy) -> Inspection | None:
    """The inspection of an input before it is known whether it is admitted, as far as that costs little; None: it is to
    be inspected after admission, as one whose inspection fails, since the failure is recorded then."""
    if sum(len(inspected.text) for inspected in texts) > _LITTLE:
        return None
    try:
        return inspect(texts, policy)
    except Exception:
        return None


class Running:
    """One invocation between admission and settlement."""

    def __init__(
        self,
        admission: Admission,
        admitted: Admitted,
        policy: InspectionPolicy,
        inspected: Inspection | None = None,
    ) -> None:
        self.admission = admission
        self.admitted = admitted
        self.policy = policy
        self.usage = Usage()
        self.incoming = Inspection(Decision.KILL, (), ())  # until it has been inspected
        self.started = admission.started
        self.timeline = Timeline(started=admission.started_ns, admitted=time.time_ns())
        self.cuts = Cuttable()
        self._inspected = inspected

    @property
    def decision(self) -> Decision:
        """The strictest decision so far."""
        return self.incoming.decision

    async def inspect(self, texts: Sequence[InspectedText]) -> None:
        """Inspects the input. Raises InvocationBlocked and DlpUnavailable."""
        if self._inspected is not None:
            self.incoming = self._inspected
        elif len(texts) > 1 and sum(len(inspected.text) for inspected in texts) > _MUCH:
            # A long conversation takes tens of milliseconds; the other calls of this process go on meanwhile.
            self.incoming = await asyncio.to_thread(inspect, texts, self.policy)
        else:
            self.incoming = inspect(texts, self.policy)
        self.timeline.inspected = time.time_ns()
        if self.incoming.decision is Decision.KILL:
            raise self.policy.input_error([finding.as_flag() for finding in self.incoming.findings])

    def decide(self, decision: Decision) -> None:
        """The strictest of what was decided before and of `decision`."""
        if _STRICTNESS[decision] > _STRICTNESS[self.incoming.decision]:
            self.incoming = msgspec.structs.replace(self.incoming, decision=decision)

    def decide_output(self, decision: Decision) -> None:
        """Decides on an answer, or on what is there of one. Raises OutputBlocked when it may not go out."""
        if decision is Decision.KILL:
            raise self.withhold()
        self.decide(decision)

    def withhold(self) -> OutputBlocked:
        """The refusal of an answer that may not go out."""
        self.decide(Decision.KILL)
        return self.policy.output_error()

    def nothing_used(self) -> None:
        """Charges nothing for an answer of which nothing has come to its reader and nothing will."""
        self.usage = Usage(provider=self.usage.provider, model=self.usage.model)

    def check_used(self) -> None:
        """Cuts a stream that, as its target tells, has used more than was held for it. Raises AllowanceExhausted."""
        if not self.usage.is_estimate and self.usage.cost_micros > self.admission.amount_micros:
            raise AllowanceExhausted("The answer has used all that was reserved for it.")
