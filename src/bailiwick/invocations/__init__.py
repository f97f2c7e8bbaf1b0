"""Invocations: the pipeline that every call of an agent or a model takes."""

from bailiwick.invocations.agent_runs import AgentRuns
from bailiwick.invocations.calls import Outcome
from bailiwick.invocations.dispatch.breaker import CircuitBreaker
from bailiwick.invocations.dispatch.exchange import Exchange
from bailiwick.invocations.estimates import estimate_micros
from bailiwick.invocations.kill_switches import Scope as SwitchScope
from bailiwick.invocations.kill_switches import (
    Switch,
    SwitchPage,
    engage_everything,
    engaged_everywhere,
    lift_everything,
    list_switches,
)
from bailiwick.invocations.kill_switches import engage as engage_switch
from bailiwick.invocations.kill_switches import engage_for as engage_switch_for
from bailiwick.invocations.kill_switches import lift as lift_switch
from bailiwick.invocations.kill_switches import lift_for as lift_switch_for
from bailiwick.invocations.model_list import Deployment, ModelListInvalid, load_models
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.prices import MOST_TOKENS
from bailiwick.invocations.requests import Decision
from bailiwick.invocations.runs import RunPage, get_run, list_runs
from bailiwick.invocations.sweeper import sweep
from bailiwick.invocations.tables import Invocation as Trace
from bailiwick.invocations.terms import TermsCache
from bailiwick.invocations.traces import (
    TracePage,
    TraceStatus,
    get_trace,
    list_traces,
    raw_cost_micros,
    requested_model,
    utility,
)

__all__ = [
    "MOST_TOKENS",
    "AgentRuns",
    "CircuitBreaker",
    "Decision",
    "Deployment",
    "Exchange",
    "ModelListInvalid",
    "Outcome",
    "Pipeline",
    "RunPage",
    "Switch",
    "SwitchPage",
    "SwitchScope",
    "TermsCache",
    "Trace",
    "TracePage",
    "TraceStatus",
    "engage_everything",
    "engage_switch",
    "engage_switch_for",
    "engaged_everywhere",
    "estimate_micros",
    "get_run",
    "get_trace",
    "lift_everything",
    "lift_switch",
    "lift_switch_for",
    "list_runs",
    "list_switches",
    "list_traces",
    "load_models",
    "raw_cost_micros",
    "requested_model",
    "sweep",
    "utility",
]
