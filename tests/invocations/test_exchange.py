"""How other servers are called: what is tried again, what is not, and that nothing is charged for what fails."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from email.utils import format_datetime

import pytest
from aiohttp import web

from bailiwick.invocations.dispatch.exchange import Exchange, retry_after
from bailiwick.invocations.errors import TargetUnavailable
from bailiwick.invocations.pipeline import Pipeline
from bailiwick.invocations.requests import Usage
from tests.invocations.conftest import ModelServer, Tenant
from tests.invocations.test_http_agents import a_call, an_agent, answering, assert_nothing_was_charged


async def test_retry_after_may_be_a_date(model: ModelServer, exchange: Exchange) -> None:
    async def busy_once(_request: web.Request) -> web.StreamResponse:
        if len(model.requests) == 1:
            past = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
            return web.Response(status=503, headers={"retry-after": format_datetime(past, usegmt=True)})
        return web.json_response({"response": "At last."})

    model.answer = busy_once
    assert await an_agent(model, exchange).dispatch(["Hello"], Usage()) == "At last."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("²", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("Fri, 31 Dec 1999 23:59:59", None),  # no zone
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds


async def test_a_target_that_wants_to_be_left_alone_for_long_is(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    model.answer = answering("", status=429, **{"retry-after": "3600"})
    with pytest.raises(TargetUnavailable, match="429"):
        await pipeline.invoke(a_call(tenant, an_agent(model, exchange)))
    assert len(model.requests) == 1
    await assert_nothing_was_charged(tenant)


async def test_a_failure_with_a_long_page_is_tried_again(model: ModelServer, exchange: Exchange) -> None:
    async def broken_once(_request: web.Request) -> web.StreamResponse:
        if len(model.requests) == 1:
            return web.Response(status=502, body=b"<html>" * 100_000)
        return web.json_response({"response": "At last."})

    model.answer = broken_once
    assert await an_agent(model, exchange).dispatch(["Hello"], Usage()) == "At last."


async def test_an_answer_that_breaks_off_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(b'{"response"')
        assert request.transport is not None
        request.transport.close()
        return response

    model.answer = cut
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, an_agent(model, exchange)))
    assert len(model.requests) == 1  # an answer had begun: asking again could cost twice
    await assert_nothing_was_charged(tenant)


async def test_a_refused_connection_costs_nothing(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(TargetUnavailable):
            await pipeline.invoke(a_call(tenant, an_agent(model, exchange, url=url)))
    await assert_nothing_was_charged(tenant)


async def test_a_server_without_tls_is_unavailable_over_https(
    tenant: Tenant, pipeline: Pipeline, model: ModelServer, exchange: Exchange
) -> None:
    url = model.base_url.replace("http:", "https:") + "/agent"
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, an_agent(model, exchange, url=url)))
    assert model.requests == []
    await assert_nothing_was_charged(tenant)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    tenant: Tenant, pipeline: Pipeline, exchange: Exchange, model: ModelServer, own_certificate: ssl.SSLContext
) -> None:
    reached = False

    async def answer(_request: web.Request) -> web.StreamResponse:
        nonlocal reached
        reached = True
        return web.Response()

    application = web.Application()
    application.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own_certificate)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    with pytest.raises(TargetUnavailable):
        await pipeline.invoke(a_call(tenant, an_agent(model, exchange, url=url)))
    assert not reached
    await assert_nothing_was_charged(tenant)
    await runner.cleanup()
