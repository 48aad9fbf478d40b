"""A bound on how deep free JSON may nest: what was read must also be written further on."""

from typing import Any

from llmctl.protocol.errors import invalid_request

MAX_NESTING = 100
"""Levels of tool input and schemas; far below what makes an encoder give up."""


def check_nesting(values: list[Any]) -> None:
    """Raise ``ApiError`` 400 where a value nests deeper than that."""
    level = _containers([values])
    for _ in range(MAX_NESTING):
        level = _containers(level)
        if not level:
            return
    raise invalid_request(f"body: tool schemas and inputs may nest {MAX_NESTING} levels deep")


def _containers(level: list[Any]) -> list[Any]:
    """Return the lists and objects directly inside those of ``level``."""
    return [
        value
        for parent in level
        for value in (parent.values() if type(parent) is dict else parent)
        if type(value) is dict or type(value) is list
    ]
