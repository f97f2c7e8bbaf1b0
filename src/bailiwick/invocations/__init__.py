"""Invocations: the pipeline that every call of an agent or a model takes."""

from bailiwick.invocations.agent_runs import AgentRuns
from bailiwick.invocations.answer_cache import AnswerCache, forget_expired_answers
from bailiwick.invocations.calls import Outcome
from bailiwick.invocations.deployments import Deployment, ModelList
from bailiwick.invocations.dialects import Dialect as ModelDialect
from bailiwick.invocations.dispatch.opening import open_upstreams
from bailiwick.invocations.dispatch.upstreams import Upstreams
from bailiwick.invocations.errors import (
    REFUSALS,
    CallRateLimited,
    GatewayNotAllowed,
    ProviderRefused,
    WorkspaceMismatch,
)
from bailiwick.invocations.estimates import estimate_micros
from bailiwick.invocations.kill_switches import Scope as SwitchScope
from bailiwick.invocations.kill_switches import (
    Switch,
    SwitchPage,
    engage_everything,
    engaged_everywhere,
    lift_everything,
    list_switches,
    require_not_stopped,
)
from bailiwick.invocations.kill_switches import engage as engage_switch
from bailiwick.invocations.kill_switches import engage_for as engage_switch_for
from bailiwick.invocations.kill_switches import lift as lift_switch
from bailiwick.invocations.kill_switches import lift_for as lift_switch_for
from bailiwick.invocations.model_calls import KINDS as MODEL_CALL_KINDS
from bailiwick.invocations.model_calls import ModelCalls
from bailiwick.invocations.model_list import ModelListInvalid, load_models, models_of
from bailiwick.invocations.model_target import ModelResponse
from bailiwick.invocations.model_terms import ModelTermsCache, own_session
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.prepared_calls import COUNTS, EMBEDDINGS, ModelCall
from bailiwick.invocations.prices import MOST_TOKENS, dearest_prices
from bailiwick.invocations.relaying import stream_error, stream_of_nothing
from bailiwick.invocations.requests import Decision
from bailiwick.invocations.running import Running as RunningCall
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
    "COUNTS",
    "EMBEDDINGS",
    "MODEL_CALL_KINDS",
    "MOST_TOKENS",
    "REFUSALS",
    "AgentRuns",
    "AnswerCache",
    "CallRateLimited",
    "Decision",
    "Deployment",
    "GatewayNotAllowed",
    "ModelCall",
    "ModelCalls",
    "ModelDialect",
    "ModelList",
    "ModelListInvalid",
    "ModelResponse",
    "ModelTermsCache",
    "Outcome",
    "Pipeline",
    "ProviderRefused",
    "RunPage",
    "RunningCall",
    "Switch",
    "SwitchPage",
    "SwitchScope",
    "TermsCache",
    "Trace",
    "TracePage",
    "TraceStatus",
    "Upstreams",
    "WorkspaceMismatch",
    "dearest_prices",
    "engage_everything",
    "engage_switch",
    "engage_switch_for",
    "engaged_everywhere",
    "estimate_micros",
    "forget_expired_answers",
    "get_run",
    "get_trace",
    "lift_everything",
    "lift_switch",
    "lift_switch_for",
    "list_runs",
    "list_switches",
    "list_traces",
    "load_models",
    "models_of",
    "open_upstreams",
    "own_session",
    "raw_cost_micros",
    "requested_model",
    "require_not_stopped",
    "stream_error",
    "stream_of_nothing",
    "sweep",
    "utility",
]
