"""The OpenAPI document: the contract's own text for every operation of a contract that is served, and the web
framework's for operations beyond the contracts.

What a handler claims by its `operation_id` is checked here: its method and path must be the contract's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from bailiwick import __version__
from bailiwick.api.control import agent
from bailiwick.api.gateway.model_calls import ENDPOINTS

_CONTRACTS = ("governance", "hosted-agents", "operations", "company", "network")
_METHODS = ("get", "post", "put", "patch", "delete")
# Served in front of the web framework, which therefore does not know them.
_IN_FRONT = {
    agent.OPERATION: ("post", "/api/v1/agent/run"),
    **{endpoint.operation: ("post", path) for path, endpoint in ENDPOINTS.items()},
}
# What operations beyond the contracts take: the schemes are those of the governance contract.
_CREDENTIALS: list[dict[str, list[str]]] = [{"accessToken": []}, {"virtualKey": []}]
_GATEWAY = [*_CREDENTIALS, {"virtualKeyHeader": []}]
_DOCUMENTED = {endpoint.operation: endpoint.document for endpoint in ENDPOINTS.values() if endpoint.document}


class ContractBroken(Exception):
    """A handler stands elsewhere than the contract says its operation does."""


def contract_dir() -> Path:
    """The folder of contracts: in the installed package, else in the checkout."""
    package = Path(str(resources.files("bailiwick")))
    installed = package / "_contract"
    return installed if installed.is_dir() else package.parents[1] / "contract"


@cache
def contracts() -> dict[str, dict[str, Any]]:
    """The contracts by name."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return {
        name: yaml.load((contract_dir() / f"{name}.yaml").read_text(), Loader=loader)  # noqa: S506 - a safe loader
        for name in _CONTRACTS
    }


@cache
def contract_operations() -> dict[str, tuple[str, str, str]]:
    """Contract, method and path of every operation id."""
    return {
        item[method]["operationId"]: (name, method, path)
        for name, contract in contracts().items()
        for path, item in contract["paths"].items()
        for method in _METHODS
        if method in item
    }


def shape(path: str) -> str:
    """A path without its parameters' names, so that `{run_id:str}` and `{runId}` are alike."""
    return re.sub(r"\{[^/}]*\}", "{}", path).rstrip("/") or "/"


def served(api: Litestar) -> Iterator[tuple[str, str, str | None]]:
    """Method, path and operation id of everything that is served."""
    for operation_id, (method, path) in _IN_FRONT.items():
        yield method, path, operation_id
    for method, path, handler in _handlers(api):
        yield method, path, handler.operation_id if isinstance(handler.operation_id, str) else None


def _handlers(api: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    """Method, path and handler of everything that the web framework serves."""
    for route in api.routes:
        for handler in getattr(route, "route_handlers", ()):
            if isinstance(handler, HTTPRouteHandler):
                for method in handler.http_methods:
                    if method.lower() in _METHODS:
                        yield method.lower(), route.path, handler


def _public(api: Litestar) -> set[tuple[str, str]]:
    """Method and path of what takes no credential."""
    return {
        (method, path)
        for method, path, handler in _handlers(api)
        if handler.opt.get("public") or not handler.resolve_guards()
    }


def _renamed(node: Any, contract: str) -> Any:
    """A copy in which component names carry their contract's name: two contracts may use one name differently."""
    if isinstance(node, dict):
        return {
            key: re.sub(r"^(#/components/\w+/)", rf"\1{contract}.", value)
            if key == "$ref" and isinstance(value, str)
            else _renamed(value, contract)
            for key, value in node.items()
        }
    return [_renamed(value, contract) for value in node] if isinstance(node, list) else node


def _referenced(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _referenced(value)
    elif isinstance(node, list):
        for value in node:
            yield from _referenced(value)


def _take_components(document: dict[str, Any], node: Any) -> None:
    """Adds the components that `node` refers to, and theirs."""
    for reference in _referenced(node):
        _, _, kind, qualified = reference.split("/", 3)
        target = document["components"].setdefault(kind, {})
        contract, _, name = qualified.partition(".")
        if qualified in target or contract not in _CONTRACTS:
            continue
        target[qualified] = _renamed(contracts()[contract]["components"][kind][name], contract)
        _take_components(document, target[qualified])


def document(api: Litestar) -> dict[str, Any]:
    """The OpenAPI 3.1 document of what `api` serves. Raises ContractBroken."""
    own = api.openapi_schema.to_schema()
    public = _public(api)
    result: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Bailiwick",
            "version": __version__,
            "description": "One control plane for fleets of agents.",
        },
        "servers": [{"url": "/"}],
        "paths": {},
        "components": copy.deepcopy(own.get("components", {})),
    }
    for method, path, operation_id in sorted(served(api), key=lambda entry: (entry[1], entry[0])):
        place = contract_operations().get(operation_id or "")
        if place is None:
            own_path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)
            known = _DOCUMENTED.get(operation_id or "") or own["paths"].get(own_path, {}).get(method)
            if known is not None:
                needed = [] if (method, path) in public else _GATEWAY if operation_id in _DOCUMENTED else _CREDENTIALS
                result["paths"].setdefault(own_path, {})[method] = {**known, "security": needed}
            continue
        contract, contract_method, contract_path = place
        if (method, shape(path)) != (contract_method, shape(contract_path)):
            raise ContractBroken(f"{operation_id} is {contract_method} {contract_path}, not {method} {path}")
        source = contracts()[contract]
        operation = _renamed(source["paths"][contract_path][method], contract)
        operation.setdefault("security", _renamed(source.get("security", []), contract))
        result["paths"].setdefault(contract_path, {})[method] = operation
        _take_components(result, operation)
        schemes = source["components"].get("securitySchemes", {})
        result["components"].setdefault("securitySchemes", {}).update(schemes)
    return result
