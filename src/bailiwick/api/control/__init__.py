"""The family `/api/v1`: one module for each resource, listed under the Router of its contract."""

from __future__ import annotations

from litestar import Router

from bailiwick.api import verify_email_page, well_known
from bailiwick.api.control import (
    audit,
    auth,
    billing,
    keys,
    kill_switches,
    log_sources,
    provision,
    runs,
    stats,
    traces,
    workspace,
)
from bailiwick.api.errors import GOVERNANCE, HOSTED_AGENTS
from bailiwick.api.families import family_router

_GOVERNANCE = (auth, workspace, keys, audit, traces, kill_switches)
_BESIDE = (well_known, verify_email_page)
_HOSTED_AGENTS = (runs, stats, provision, log_sources, billing)


def routers() -> list[Router]:
    """The Routers of the family, with what its sign-in needs beside them: published keys, the page of a mail's link."""
    return [
        family_router(GOVERNANCE, [route for module in (*_GOVERNANCE, *_BESIDE) for route in module.ROUTES]),
        family_router(HOSTED_AGENTS, [route for module in _HOSTED_AGENTS for route in module.ROUTES]),
    ]
