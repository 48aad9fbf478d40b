"""Errors as people and programs read them."""

import json
from collections.abc import Mapping
from typing import TextIO

from llmctl.core.errors import LlmctlError

_RED, _CYAN, _PLAIN = "\033[1;31m", "\033[1;36m", "\033[0m"


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Decide for one stream: ``NO_COLOR`` and ``TERM=dumb`` switch off, ``FORCE_COLOR`` on."""
    if environ.get("NO_COLOR") or environ.get("TERM") == "dumb":
        return False
    return bool(environ.get("FORCE_COLOR")) or stream.isatty()


def error_text(error: LlmctlError, *, colour: bool = False) -> str:
    """Return what failed, a blank line, and the next step where there is one."""
    text = f"{_painted('error:', _RED, colour)} {error.message}\n"
    if error.hint:
        text += f"\n{_painted('hint:', _CYAN, colour)} {error.hint}\n"
    return text


def error_document(error: LlmctlError) -> str:
    """Return the same as one line of JSON."""
    body = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "exit_code": int(error.exit_code),
    }
    return json.dumps({"error": body}) + "\n"


def _painted(word: str, code: str, colour: bool) -> str:
    return f"{code}{word}{_PLAIN}" if colour else word
