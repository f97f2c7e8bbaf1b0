"""`/api/v1/runs`: the audited runs of the caller's organisation, metadata only."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from bailiwick import invocations
from bailiwick.identity import Caller

_LAST_PAGE = 2**63 - 1  # as far as msgspec can bound a number; a page beyond the end is an empty one


@get("/api/v1/runs", operation_id="hosted_list_runs")
async def list_runs(
    caller: NamedDependency[Caller],
    page: Annotated[int, QueryParameter(ge=1, le=_LAST_PAGE)] = 1,
    per_page: Annotated[int, QueryParameter(ge=1, le=100)] = 25,
    agent_id: Annotated[str | None, QueryParameter(min_length=1, max_length=100)] = None,
) -> dict[str, Any]:
    """Newest first; `total` counts every run that matches."""
    listed = await invocations.list_runs(caller.tenant, page=page, per_page=per_page, agent_id=agent_id)
    return {"runs": listed.runs, "total": listed.total, "page": page, "per_page": per_page}


@get("/api/v1/runs/{run_id:str}", operation_id="hosted_get_run")
async def get_run(caller: NamedDependency[Caller], run_id: FromPath[str]) -> dict[str, Any]:
    """One run with both hashes and its place in the audit chain."""
    return {"run": await invocations.get_run(caller.tenant, run_id)}


ROUTES = [list_runs, get_run]
