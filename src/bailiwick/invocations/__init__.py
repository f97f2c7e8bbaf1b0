"""Invocations: the pipeline that every call of an agent or a model takes."""

from bailiwick.invocations.agent_runs import AgentRuns
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.estimates import estimate_micros
from bailiwick.invocations.model_list import Deployment, ModelListInvalid, load_models
from bailiwick.invocations.pipeline import Outcome, Pipeline
from bailiwick.invocations.prices import MOST_TOKENS
from bailiwick.invocations.runs import RunPage, get_run, list_runs
from bailiwick.invocations.sweeper import sweep
from bailiwick.invocations.terms import TermsCache

__all__ = [
    "MOST_TOKENS",
    "AgentRuns",
    "CircuitBreaker",
    "Deployment",
    "Exchange",
    "ModelListInvalid",
    "Outcome",
    "Pipeline",
    "RunPage",
    "TermsCache",
    "estimate_micros",
    "get_run",
    "list_runs",
    "load_models",
    "sweep",
]
