"""A server that is told to stop, and calls that take longer than it waits."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.api.accounts import bearer, sign_up
from tests.api.conftest import Rows
from tests.api.gateway.calls import CHAT, MESSAGES, books_are_right, chat
from tests.api.gateways import running_gateway
from tests.api.model_servers import write_models
from tests.invocations.test_streams import LONG, endless, openai_events
from tests.waiting import PATIENCE_SECONDS, until


def test_calls_that_outlast_the_stop_are_told_so_and_settled(
    server_url: str, template_database: str, tmp_path: Path
) -> None:
    with running_gateway(
        server_url, template_database, tmp_path, write_models, workers=1, shutdown_seconds="1"
    ) as gateway:
        account = sign_up(gateway.client)
        gateway.model.answer = endless(*openai_events(LONG)[:31])

        of_chat, of_message = list[str](), list[str]()

        def streamed(path: str, body: dict[str, Any], lines: list[str]) -> None:
            with httpx.stream(
                "POST", f"{gateway.server.base_url}{path}", headers=bearer(account.virtual_key), json=body, timeout=30
            ) as answer:
                assert answer.status_code == 200
                for line in filter(None, answer.iter_lines()):
                    lines.append(line)

        def have_begun() -> bool:
            return all(any("Sentence" in line for line in lines) for lines in (of_chat, of_message))

        def whole() -> httpx.Response:
            url = f"{gateway.server.base_url}{CHAT}"
            return httpx.post(url, headers=bearer(account.virtual_key), json=chat(), timeout=30)

        with ThreadPoolExecutor() as threads:
            a_chat = threads.submit(streamed, CHAT, chat(stream=True), of_chat)
            a_message = threads.submit(streamed, MESSAGES, chat(stream=True, max_tokens=1000), of_message)
            an_answer = threads.submit(whole)
            until(lambda: len(gateway.model.requests) == 3 and have_begun())
            gateway.server.process.send_signal(signal.SIGTERM)
            a_chat.result(PATIENCE_SECONDS)
            a_message.result(PATIENCE_SECONDS)
            answer = an_answer.result(PATIENCE_SECONDS)
        assert gateway.server.process.wait(PATIENCE_SECONDS) == 0

        error = json.loads(of_chat[-1].removeprefix("data: "))["error"]
        assert "stopping" in error["message"]
        assert of_message[-2] == "event: error"
        assert "stopping" in json.loads(of_message[-1].removeprefix("data: "))["error"]["message"]
        assert (answer.status_code, "stopping" in answer.json()["error"]["message"]) == (503, True)
        rows = Rows(gateway.server.database_url)
        try:
            assert rows.all("select distinct status from invocations") == [{"status": "cancelled"}]
            charged = rows.all("select output_tokens > 0 as answered from invocations where cost_micros > 0 order by 1")
            # Of the answer that was to come whole nothing has come, but the model has read what it was asked.
            assert [row["answered"] for row in charged] == [False, True, True]
            books_are_right(rows, account)
        finally:
            rows.close()
