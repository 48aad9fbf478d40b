"""``/v1/models`` in Anthropic's shape, with what llmctl knows about each model beside it."""

from collections.abc import Mapping
from typing import Any

from llmctl.protocol.errors import ApiError
from llmctl.proxy.pipeline import Pipeline

CREATED_AT = "1970-01-01T00:00:00Z"
"""Anthropic's documented value where the release date is not known."""
MAX_LIMIT = 1000


def model_page(pipeline: Pipeline, query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page; ``limit``, ``after_id`` and ``before_id`` as Anthropic documents them."""
    rows = _rows(pipeline)
    names = [row["id"] for row in rows]
    limit = _limit(query.get("limit", "20"))
    if (before := query.get("before_id")) in names:
        rows = rows[: names.index(before)]
        page = rows[-limit:]
    else:
        if (after := query.get("after_id")) in names:
            rows = rows[names.index(after) + 1 :]
        page = rows[:limit]
    return {
        "data": page,
        "has_more": len(rows) > limit,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def one_model(pipeline: Pipeline, name: str) -> dict[str, Any]:
    """Return the model that answers for ``name``; raises ``ApiError`` 404."""
    return _row(pipeline, name)


def _rows(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [_row(pipeline, name) for name in pipeline.pool.names()]


def _row(pipeline: Pipeline, name: str) -> dict[str, Any]:
    model = pipeline.route(name).model
    return {
        "type": "model",
        "id": name,
        "display_name": name if name == model.name else f"{name} ({model.name})",
        "created_at": CREATED_AT,
        "max_input_tokens": pipeline.window(model),
        "engine_model": model.name,
        "capabilities": sorted(model.capabilities),
    }


def _limit(text: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= 4
    if not digits or not 1 <= int(text) <= MAX_LIMIT:
        raise ApiError(400, f"limit={text[:40]!r} is not a number from 1 to {MAX_LIMIT}")
    return int(text)
