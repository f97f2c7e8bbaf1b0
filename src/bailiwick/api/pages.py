"""The two pages for a browser: what this is, and its operations. Plain HTML of our own, without outside files."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from litestar import MediaType, Response

from bailiwick import __version__

_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--paper:#fbfaf7;--line:#d8d4ca;--accent:#1f5f5b;--soft:#efece4}
@media(prefers-color-scheme:dark){:root{--ink:#e6e3dc;--paper:#15191e;--line:#343a42;--accent:#7cc4bd;
--soft:#1e242b}
}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:3rem 1.5rem 5rem}
h1{font-size:2.1rem;line-height:1.15;margin:0 0 .4rem}
h2{font-size:1.15rem;margin:2.4rem 0 .6rem}
a{color:var(--accent)}
code,pre{font:13.5px/1.5 ui-monospace,monospace}
pre{background:var(--soft);border:1px solid var(--line);border-radius:6px;padding:1rem;overflow:auto}
.lead{font-size:1.15rem;max-width:44rem}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr))}
.card{border:1px solid var(--line);border-radius:8px;padding:1rem 1.1rem}
.card b{display:block;margin-bottom:.25rem}
details{border-bottom:1px solid var(--line);padding:.55rem 0}
summary{cursor:pointer;display:flex;gap:.8rem;align-items:baseline}
.method{font:600 12px ui-monospace,monospace;min-width:3.6rem;text-transform:uppercase;color:var(--accent)}
.muted{opacity:.72}
table{border-collapse:collapse;width:100%;font-size:.92rem}
td,th{text-align:left;padding:.3rem .6rem .3rem 0;
border-bottom:1px solid var(--line);vertical-align:top}
table{margin:.4rem 0 .9rem}
nav a{margin-right:1rem}
"""
_SENTENCE_END = re.compile(r"(?<=[a-z)\]`])[.;:]\s+")
_FIRST_CALL = """curl -s {base_url}/api/v1/auth/signup -H 'Content-Type: application/json' \\
  -d '{{"email":"ada@example.com","password":"correct horse battery","name":"Ada"}}'   # answers $TOKEN: accessToken

curl -s {base_url}/api/v1/agent/run \\
  -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
  -d '{{"agentId":"helpdesk-tier1-triage","message":"Router at floor 3 is offline since 09:00"}}'"""


def _page(title: str, body: str) -> Response[str]:
    content = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )
    return Response(content, media_type=MediaType.HTML, headers=_HEADERS)


def landing_page(base_url: str) -> Response[str]:
    """What this is, and where to go; `base_url` is where clients reach this server."""
    cards = (
        ("Governed", "Every call passes limits, policy and data-loss prevention, in and out, before it counts."),
        ("Charged", "Its worst-case cost is reserved first and settled to the micro-dollar in a double-entry ledger."),
        ("Proved", "Every run is an entry of a hash-chained log with signed checkpoints and inclusion proofs."),
    )
    grid = "".join(f'<div class="card"><b>{escape(head)}</b>{escape(text)}</div>' for head, text in cards)
    return _page(
        "Bailiwick",
        '<h1>Bailiwick</h1><p class="lead">The control plane for your fleet of AI agents: one server that governs '
        "every call they make, pays for it and proves it.</p>"
        f'<nav><a href="/docs">API documentation</a><a href="/openapi.json">OpenAPI</a><a href="/health">Health</a>'
        f'<a href="/metrics">Metrics</a></nav><h2>What happens to a call</h2><div class="grid">{grid}</div>'
        f"<h2>A first governed call</h2><pre>{escape(_FIRST_CALL.format(base_url=base_url))}</pre>"
        f'<p class="muted">Version {escape(__version__)}</p>',
    )


def _resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """A schema or parameter with its references followed; a reference's siblings are laid over it."""
    for _ in range(8):
        reference = node.get("$ref")
        if reference is None:
            break
        target: Any = document
        for part in reference.removeprefix("#/").split("/"):
            target = target.get(part, {})
        node = target | {name: value for name, value in node.items() if name != "$ref"}
    for part in node.get("allOf", ()):
        whole = _resolved(document, part)
        node = node | {
            "properties": node.get("properties", {}) | whole.get("properties", {}),
            "required": [*node.get("required", ()), *whole.get("required", ())],
        }
    return node


def _type_name(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolved(document, schema)
    if "enum" in schema:
        return " | ".join(str(value) for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"{_type_name(document, schema.get('items', {}))}[]"
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def _fields(document: dict[str, Any], title: str, schema: dict[str, Any]) -> str:
    """A table of an object's members; those that must be there are bold."""
    schema = _resolved(document, schema)
    required = set(schema.get("required", ()))
    marked = {
        name: f"<b>{escape(name)}</b>" if name in required else escape(name) for name in schema.get("properties", {})
    }
    rows = "".join(
        f"<tr><td><code>{marked[name]}</code></td>"
        f"<td>{escape(_type_name(document, member))}</td>"
        f"<td>{escape(str(_resolved(document, member).get('description', '')))}</td></tr>"
        for name, member in schema.get("properties", {}).items()
    )
    return f"<table><tr><th>{escape(title)}</th><th>Type</th><th></th></tr>{rows}</table>" if rows else ""


def _json_schema(node: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = node.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _sentence(description: str) -> str:
    """The first sentence of a description."""
    return _SENTENCE_END.split(" ".join(description.split()), maxsplit=1)[0].rstrip(".")


def _operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> str:
    description = operation.get("description") or operation.get("summary") or ""
    parameters = [_resolved(document, parameter) for parameter in operation.get("parameters", ())]
    parts = [
        _fields(
            document,
            "Parameter",
            {
                "properties": {parameter["name"]: parameter.get("schema", {}) for parameter in parameters},
                "required": [parameter["name"] for parameter in parameters if parameter.get("required")],
            },
        ),
        _fields(document, "Body", _json_schema(_resolved(document, operation.get("requestBody", {})))),
    ]
    parts += [
        _fields(document, f"Answer {status}", _json_schema(_resolved(document, answer)))
        for status, answer in operation.get("responses", {}).items()
        if status.startswith("2")
    ]
    rows = "".join(
        f"<tr><td><code>{escape(status)}</code></td><td>{escape(', '.join(codes))}</td></tr>"
        for status, codes in sorted((operation.get("x-error-codes") or {}).items())
    )
    parts.append(f"<table><tr><th>Error</th><th>Codes</th></tr>{rows}</table>" if rows else "")
    return (
        f'<details><summary><span class="method">{escape(method)}</span><code>{escape(path)}</code>'
        f'<span class="muted">{escape(_sentence(description))}</span></summary>'
        f"<p>{escape(description)}</p>{''.join(parts)}</details>"
    )


def documentation_page(document: dict[str, Any]) -> Response[str]:
    """Every operation, grouped by tag."""
    groups: dict[str, list[str]] = {}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            tag = (operation.get("tags") or ["server"])[0]
            groups.setdefault(tag, []).append(_operation(document, method, path, operation))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in sorted(groups.items()))
    return _page(
        "Bailiwick: API",
        '<h1>API</h1><p class="lead">Every operation that this server serves. The machine-readable form is '
        f'<a href="/openapi.json">/openapi.json</a>.</p>{sections}',
    )
