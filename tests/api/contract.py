"""Holds every response against `contract/`: an httpx response hook that any test's client carries."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

CONTRACTS = ("governance", "hosted-agents", "operations", "company", "network")
_FOLDER = Path(__file__).parents[2] / "contract"
_METHODS = ("get", "post", "put", "patch", "delete")
# What any operation may answer without its contract saying so: it is the server, not the operation, that refuses.
_IMPLIED = {401, 403, 413, 429, 503}
# What a credential may be refused for on any operation: its role, its scopes, its missing organization.
_FORBIDDEN = ["E_FORBIDDEN", "FORBIDDEN", "INSUFFICIENT_PERMISSIONS", "NO_ORG"]
_JSON = "application/json"
_EVENTS = "text/event-stream"


class Operation:
    """One operation of a contract."""

    def __init__(self, contract: str, path: str, method: str, item: dict[str, Any]) -> None:
        self.contract, self.path, self.method, self.item = contract, path, method, item
        self.id: str = item["operationId"]
        self.pattern = re.compile(re.sub(r"\\\{[^/{}]+\\\}", "[^/]+", re.escape(path)))
        self.error_codes: dict[str, list[str]] = item.get("x-error-codes", {})

    @property
    def is_public(self) -> bool:
        """Whether it takes no credential."""
        return self.item.get("security") == []


@cache
def documents() -> dict[str, dict[str, Any]]:
    """The contracts by name."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {name: yaml.load((_FOLDER / f"{name}.yaml").read_text(), Loader=loader) for name in CONTRACTS}  # noqa: S506


@cache
def _registry() -> Registry[Any]:
    resources = [
        (f"urn:contract:{name}", DRAFT202012.create_resource(document)) for name, document in documents().items()
    ]
    registry: Registry[Any] = Registry().with_resources(resources)
    return registry


@cache
def operations() -> list[Operation]:
    """All operations, those with literal paths before those with parameters."""
    found = [
        Operation(name, path, method, item[method])
        for name, document in documents().items()
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    ]
    return sorted(found, key=lambda operation: operation.path.count("{"))


def find_operation(method: str, path: str) -> Operation | None:
    """The operation that a request is for; None for what no contract knows."""
    return next(
        (
            operation
            for operation in operations()
            if operation.method == method.lower() and operation.pattern.fullmatch(path)
        ),
        None,
    )


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


@cache
def _validator(contract: str, pointer: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"urn:contract:{contract}#{pointer}"},
        registry=_registry(),
        format_checker=jsonschema.FormatChecker(),
    )


def _schema_pointer(operation: Operation, status: int) -> str | None:
    """Where the JSON schema of a status stands in the contract; None when it has none."""
    status_key = str(status)
    response = operation.item["responses"][status_key]
    pointer = f"/paths/{_escape(operation.path)}/{operation.method}/responses/{status_key}"
    if "$ref" in response:
        pointer = response["$ref"].removeprefix("#")
        response = documents()[operation.contract]
        for part in pointer.strip("/").split("/"):
            response = response[part]
    content = response.get("content", {})
    return f"{pointer}/content/{_escape(_JSON)}/schema" if _JSON in content else None


def error_code(response: httpx.Response) -> str:
    """The stable code of a refusal, in the envelope of its family."""
    body = response.json()
    error = body.get("error")
    code: str = error["code"] if isinstance(error, dict) else body["code"]
    return code


def _refuses_by_query(operation: Operation) -> bool:
    return any(parameter.get("in") == "query" for parameter in operation.item.get("parameters", ()))


def _check_envelope(operation: Operation, response: httpx.Response, what: str) -> None:
    """Holds a refusal that a contract implies against its family's envelope."""
    assert response.headers["content-type"].startswith(_JSON), what
    body = response.json()
    assert isinstance(body, dict), what
    if isinstance(body.get("error"), dict):  # ProviderError
        body = {"error": body["error"].get("message"), "code": body["error"].get("code")}
    if operation.contract in ("governance", "hosted-agents"):
        assert all(isinstance(body.get(member), str) and body[member] for member in ("error", "code")), what


def check(response: httpx.Response, operation: Operation | None = None) -> None:
    """Fails the test when a response is not one that its operation may give, or is a failure of ours.

    The operation is found by the request when it is not given.
    """
    request = response.request
    what = f"{request.method} {request.url.path} answered {response.status_code}: {response.text[:500]}"
    assert response.status_code < 500 or response.status_code in (502, 503, 504), what
    operation = operation or find_operation(request.method, request.url.path)
    if operation is None:
        return
    if str(response.status_code) not in operation.item["responses"]:
        # A body that is no JSON, and a query of other types, are 400 wherever they are taken.
        is_implied = response.status_code in _IMPLIED or (
            response.status_code == 400 and ("requestBody" in operation.item or _refuses_by_query(operation))
        )
        assert is_implied, f"{operation.id} has no such status: {what}"
        _check_envelope(operation, response, what)
        return
    codes = operation.error_codes.get(str(response.status_code))
    if codes and operation.contract in ("governance", "hosted-agents"):
        allowed = codes + _FORBIDDEN if response.status_code == 403 else codes
        assert error_code(response) in allowed, f"{operation.id} has no such code: {what}"
    if _is_stream(response) and _EVENTS in operation.item["responses"][str(response.status_code)].get("content", {}):
        return
    pointer = _schema_pointer(operation, response.status_code)
    if pointer is None:
        return
    assert response.headers["content-type"].startswith(_JSON), what
    problems = [
        f"{error.json_path}: {error.message}"
        for error in _validator(operation.contract, pointer).iter_errors(response.json())
    ]
    assert not problems, f"{operation.id} breaks its contract: {problems}\n{what}"


def _is_stream(response: httpx.Response) -> bool:
    content_type: str = response.headers.get("content-type", "")
    return content_type.startswith((_EVENTS, "application/x-ndjson"))


def check_hook(response: httpx.Response) -> None:
    """For `httpx.Client(event_hooks={"response": [check_hook]})`."""
    if not _is_stream(response):
        response.read()
        check(response)


async def check_hook_async(response: httpx.Response) -> None:
    """For `httpx.AsyncClient(event_hooks={"response": [check_hook_async]})`."""
    if not _is_stream(response):
        await response.aread()
        check(response)
