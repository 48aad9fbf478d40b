"""``GET /openapi.json``: what the proxy takes and answers, from the structs it decodes with.

OpenAPI 3.1, whose schemas are JSON Schema as msgspec writes it. Rules that no schema says (which
block belongs in whose turn) show as a 400 that says where.
"""

from functools import cache
from typing import Any

import msgspec

from llmctl import __version__
from llmctl.core.model import Health
from llmctl.protocol.anthropic import Message, MessagesRequest

Fields = dict[str, Any]

_STRUCTS = (MessagesRequest, Message, Health)
_REFERENCE = "#/components/schemas/{name}"
_SAID = {
    400: "The request is malformed; the message says where and how.",
    401: "The token is missing or wrong.",
    403: "Sent by a web page, or to a name that is not served here.",
    404: "There is no such path or model.",
    405: "The path does not take this method.",
    408: "The body stopped coming.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    417: "The expectation is not understood.",
    426: "Protocol upgrades are not offered.",
    429: "The engine asks for patience.",
    500: "The engine failed, or llmctl did.",
    502: "The engine's answer broke or made no sense.",
    503: "What is asked for cannot be read at the moment.",
    504: "The engine did not answer in time.",
    529: "No engine can take the request now; retry-after says when to come again.",
}
_ALWAYS = (400, 401, 403, 404, 405, 426, 500)
_BODIES = (408, 413, 415, 417)
_ENGINES = (429, 502, 504, 529)


@cache
def document() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "llmctl serve",
                "version": __version__,
                "description": "Anthropic's Messages API in front of open models.",
            },
            "paths": _paths(),
            "components": {
                "schemas": _schemas(),
                "securitySchemes": {
                    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                    "bearer": {"type": "http", "scheme": "bearer"},
                },
            },
            "security": [{"key": []}, {"bearer": []}],
        }
    )


def _paths() -> Fields:
    models = {"type": "object", "required": ["data", "has_more", "first_id", "last_id"]}
    return {
        "/v1/messages": {"post": _posted("Answer a conversation.", _answers())},
        "/v1/messages/count_tokens": {
            "post": _posted("Count the tokens of a prompt.", _json(_TOKENS), ask="TokensRequest")
        },
        "/v1/models": {
            "get": _got(
                "List the models, and the names that stand for one.",
                _json(models),
                [_query("limit", _LIMIT), _query("after_id", _TEXT), _query("before_id", _TEXT)],
            )
        },
        "/v1/models/{model}": {
            "get": _got(
                "Describe the model that answers for a name.",
                _json({"type": "object", "required": ["type", "id", "display_name"]}),
                [{"name": "model", "in": "path", "required": True, "schema": _TEXT}],
            )
        },
        "/health": {"get": _got("Describe every part.", _json(_HEALTH))},
        "/stats": {"get": _got("Sum up the ledger.", _json({"type": "object"}), _PERIOD, 503)},
        "/metrics": {"get": _got("Counters for Prometheus.", _content("text/plain", _TEXT))},
        "/openapi.json": {"get": _got("This document.", _json({"type": "object"}))},
    }


_TEXT: Fields = {"type": "string"}
_LIMIT: Fields = {"type": "integer", "minimum": 1, "maximum": 1000}
_TOKENS: Fields = {
    "type": "object",
    "properties": {"input_tokens": {"type": "integer", "minimum": 0}},
    "required": ["input_tokens"],
}
_HEALTH: Fields = {"$ref": _REFERENCE.format(name="Health")}


def _query(name: str, schema: Fields) -> Fields:
    return {"name": name, "in": "query", "required": False, "schema": schema}


_PERIOD: list[Fields] = [
    _query("since", {"type": "number"}),
    _query("until", {"type": "number"}),
    _query("by", {"enum": ["hour", "day", "month"]}),
]


def _schemas() -> Fields:
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template=_REFERENCE)
    asked: Fields = dict(schemas["MessagesRequest"])
    asked["properties"] = properties = dict(asked["properties"])
    properties["model"] = {"type": "string", "minLength": 1}
    properties["messages"] = {**properties["messages"], "minItems": 1}
    whole = {
        **asked,
        "properties": {**properties, "max_tokens": {"type": "integer", "minimum": 1}},
        "required": [*asked["required"], "max_tokens"],
    }
    return {
        **schemas,
        "TokensRequest": asked,
        "MessagesRequest": whole,
        "Message": _on_the_wire(schemas["Message"]),
        "Error": _ERROR,
    }


def _on_the_wire(message: Fields) -> Fields:
    """Add what every answer begins with; the struct keeps only what differs between answers."""
    first = {"id": _TEXT, "type": {"const": "message"}, "role": {"const": "assistant"}}
    required = [*first, *message["required"]]
    return {**message, "properties": {**first, **message["properties"]}, "required": required}


_ERROR: Fields = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {"type": _TEXT, "message": {"type": "string", "minLength": 1}},
            "required": ["type", "message"],
        },
        "request_id": _TEXT,
    },
    "required": ["type", "error", "request_id"],
}


def _content(kind: str, schema: Fields) -> Fields:
    return {"content": {kind: {"schema": schema}}}


def _json(schema: Fields) -> Fields:
    return _content("application/json", schema)


def _answers() -> Fields:
    whole = {"schema": {"$ref": _REFERENCE.format(name="Message")}}
    # OpenAPI 3.1 has no words for the events of a stream: no schema is better than a wrong one
    return {"content": {"application/json": whole, "text/event-stream": {}}}


def _posted(summary: str, answer: Fields, *, ask: str = "MessagesRequest") -> Fields:
    schema = {"$ref": _REFERENCE.format(name=ask)}
    return {
        "summary": summary,
        "requestBody": {"required": True, **_json(schema)},
        "responses": _responses(answer, _BODIES + _ENGINES),
    }


def _got(
    summary: str, answer: Fields, parameters: list[Fields] | None = None, *more: int
) -> Fields:
    return {
        "summary": summary,
        "parameters": parameters or [],
        "responses": _responses(answer, more),
    }


def _responses(answer: Fields, more: tuple[int, ...]) -> Fields:
    error = _json({"$ref": _REFERENCE.format(name="Error")})
    statuses = sorted({*_ALWAYS, *more})
    failures = {str(status): {"description": _SAID[status], **error} for status in statuses}
    return {"200": {"description": "The answer.", **answer}} | failures
