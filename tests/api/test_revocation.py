"""Two server processes: what one revokes, the other feels."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from bailiwick.kernel.ids import Prefix, decode
from tests.api.accounts import Account, bearer, log_in, sign_up
from tests.api.conftest import Rows, contract_client
from tests.api.servers import Server, running_server
from tests.waiting import until

_PROBES = 40  # each on a connection of its own: both processes answer some of them


def _statuses(server: Server, token: str) -> set[int]:
    return {
        httpx.get(f"{server.base_url}/api/v1/auth/me", headers=bearer(token), timeout=30).status_code
        for _ in range(_PROBES)
    }


def _ends_everywhere(server: Server, token: str) -> None:
    until(lambda: _statuses(server, token) == {401})


@pytest.mark.timeout(300)
def test_a_revocation_reaches_every_process(own_database: str, tmp_path: Path) -> None:
    with running_server(own_database, tmp_path, workers=2) as server, contract_client(server) as client:
        account: Account = sign_up(client)
        other = log_in(client, account.email)["accessToken"]
        for token in (account.access_token, account.virtual_key, other):
            assert _statuses(server, token) == {200}
        assert client.post("/api/v1/auth/logout", headers=account.headers).status_code == 200
        _ends_everywhere(server, account.access_token)
        assert _statuses(server, account.virtual_key) == {200}
        rows = Rows(own_database)
        rows.run("update virtual_keys set revoked_at = now()")
        key_id = decode(Prefix.VIRTUAL_KEY, account.body["apiKey"]["keyId"])
        rows.run("select pg_notify('bailiwick', %s)", f"key:{key_id}")
        rows.close()
        _ends_everywhere(server, account.virtual_key)
        assert _statuses(server, other) == {200}
