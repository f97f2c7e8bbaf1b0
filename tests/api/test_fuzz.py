"""Every operation that is served, with data that schemathesis makes from its contract: what keeps it, what breaks it.

Whatever is sent, by whomever, the answer is one of the operation's own: no failure of ours, a documented status and
code, its family's envelope. `BAILIWICK_FUZZ_EXAMPLES` sets how much is sent to each operation by each caller.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import Any, TypeAlias

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import APIOperation, Case, GenerationMode

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import sign_up
from tests.api.conftest import Rows
from tests.api.contract import check, documents, find_operation
from tests.api.served import own_document, served_operations
from tests.api.servers import Server

_EXAMPLES = int(os.environ.get("BAILIWICK_FUZZ_EXAMPLES", "6"))
_SETTINGS = hypothesis_settings(
    max_examples=_EXAMPLES,
    derandomize="BAILIWICK_FUZZ_EXAMPLES" not in os.environ,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
AnyCase: TypeAlias = Case[Any]
CALLERS = ("owner", "viewer", "other", "nobody")
# Ends the credential that it is called with, so it is called once by each.
_ENDS_SESSION = "governance_auth_logout"
_CONFIG = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})


@cache
def _schema(contract: str) -> Any:
    """The contract as schemathesis reads it; for operations beyond the contracts the server's own document."""
    return schemathesis.openapi.from_dict(documents()[contract] if contract else own_document(), config=_CONFIG)


def _operation(operation_id: str) -> APIOperation[Any, Any, Any, Any]:
    contract, method, path = served_operations()[operation_id]
    operation: APIOperation[Any, Any, Any, Any] = _schema(contract)[path][method.upper()]
    return operation


class Sender:
    """Sends cases by several callers and holds every answer against the case's operation."""

    def __init__(self, server: Server, client: httpx.Client) -> None:
        self._base_url = server.base_url
        self._session = requests.Session()  # schemathesis speaks through requests
        accounts = {name: sign_up(client) for name in CALLERS if name != "nobody"}
        self._headers = {name: account.headers for name, account in accounts.items()} | {"nobody": {}}
        rows = Rows(server.database_url)
        viewers = decode(Prefix.ORGANIZATION, accounts["viewer"].workspace_id)
        rows.run("update memberships set role = 'VIEWER' where organization_id = %s", viewers)
        rows.close()
        body = {"sourceType": "custom_webhook", "displayName": "x", "config": {}}
        answer = client.post("/api/v1/log-sources", headers=self._headers["owner"], json=body)
        self.source_id: str = answer.json()["source"]["id"]
        """A log source of the owner's, so that what names one finds one."""
        made = client.post("/api/v1/keys", headers=self._headers["owner"], json={"label": "fuzzed"})
        self.key_id: str = made.json()["keyId"]
        """A virtual key of the owner's."""

    def send(self, case: AnyCase, caller: str) -> None:
        """One request."""
        answer = case.call(base_url=self._base_url, session=self._session, headers=self._headers[caller])
        method, path = case.operation.method.upper(), case.operation.path
        received = {name: values[0] for name, values in answer.headers.items() if name == "content-type"}
        request = httpx.Request(method, f"http://{caller}.test{path}")
        response = httpx.Response(answer.status_code, headers=received, content=answer.content, request=request)
        check(response, find_operation(method, path))

    def close(self) -> None:
        """Ends the connections."""
        self._session.close()


@pytest.fixture(scope="module")
def sender(server: Server, client: httpx.Client) -> Iterator[Sender]:
    """Speaks to the running server."""
    opened = Sender(server, client)
    yield opened
    opened.close()


def _can_be_wrong(operation_id: str) -> bool:
    operation = _operation(operation_id)
    return any((len(operation.query), len(operation.headers), len(operation.body)))


_CASES = [
    (operation_id, mode)
    for operation_id in sorted(served_operations())
    for mode in GenerationMode
    # There is no wrong data for what takes none, and any text is a name. Log-out would end the credential for the rest.
    if (mode is GenerationMode.POSITIVE or _can_be_wrong(operation_id)) and operation_id != _ENDS_SESSION
]


@pytest.mark.parametrize(("operation_id", "mode"), _CASES, ids=lambda part: getattr(part, "value", part))
def test_any_data_is_answered_as_the_contract_says(sender: Sender, operation_id: str, mode: GenerationMode) -> None:
    operation = _operation(operation_id)

    @_SETTINGS
    @given(
        case=operation.as_strategy(generation_mode=mode),
        caller=st.sampled_from(CALLERS),
        is_known=st.booleans(),
    )
    def send(case: AnyCase, caller: str, is_known: bool) -> None:
        if is_known and "id" in case.path_parameters:
            case.path_parameters["id"] = sender.source_id
        if is_known and "keyId" in case.path_parameters:
            case.path_parameters["keyId"] = sender.key_id
        sender.send(case, caller)

    send()
