"""Parts of the OpenAPI text of operations that no contract has."""

from __future__ import annotations

from typing import Any

_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}


def json_content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """An answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def header(name: str, description: str) -> dict[str, Any]:
    """A header field of a request."""
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def governed(
    operation: str,
    *,
    summary: str,
    description: str,
    request: dict[str, Any],
    answer: dict[str, Any],
    parameters: list[dict[str, Any]],
) -> dict[str, Any]:
    """The text of a governed call of a model; `answer` is the one of success."""
    return {
        "operationId": operation,
        "tags": ["Proxy"],
        "summary": summary,
        "description": description,
        "security": [{"virtualKey": []}, {"virtualKeyHeader": []}, {"accessToken": []}],
        "parameters": [
            header("x-session-id", "Groups calls into a session."),
            header("x-workspace-id", "Must be the workspace of the credential."),
            header(
                "X-Intutic-Context", "A JSON object for the trace; a call that is refused is then answered with 200."
            ),
            *parameters,
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": answer,
            "400": json_content("The body is none, or data-loss prevention blocked it.", _ERROR),
            "401": json_content("No key, or one that does not work.", _ERROR),
            "403": json_content("The key may not use the model, or a kill switch is engaged.", _ERROR),
            "429": json_content("A budget or a limit per minute is used up.", _ERROR),
            "502": json_content("The provider did not answer.", _ERROR),
        },
    }
