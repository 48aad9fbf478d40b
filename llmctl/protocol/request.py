"""From the bytes of a request to a checked ``MessagesRequest``.

Whatever is wrong becomes one ``ApiError`` 400 whose sentence starts with the path as clients know
it (``messages[3].content[0].type: …``). Checked is what no engine could use and what the real
client never sends; history it may send with flaws (results without a call, repeated ids) passes.
"""

import re
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, get_args

import msgspec

from llmctl.protocol.anthropic import (
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    MessagesRequest,
    ServerToolUseBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
    WebSearchToolResultBlock,
)
from llmctl.protocol.errors import ApiError, invalid_request
from llmctl.protocol.nesting import check_nesting
from llmctl.protocol.toolset import decode_with_tools

MAX_REPAIRED_BYTES = 4 * 1024 * 1024

_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_ALIEN = {
    "user": frozenset[type]({ToolUseBlock}),
    "assistant": frozenset[type]({ToolResultBlock, ImageBlock, DocumentBlock}),
    "system": frozenset[type]({*get_args(ContentBlock)} - {TextBlock}),
}
"""Blocks that cannot be in a message, by its role."""
_FREE_FORM: dict[type, Callable[[Any], Any]] = {
    ToolUseBlock: attrgetter("input"),
    ServerToolUseBlock: attrgetter("input"),
    WebSearchToolResultBlock: attrgetter("content"),
}
_EXPECTED = {
    "role": "expected user, assistant or system",
    "tool_choice.type": "expected auto, any, tool or none",
}
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one
    rb"|.)",
    re.DOTALL,
)


def decode(body: bytes) -> MessagesRequest:
    """Decode and check the body of ``POST /v1/messages``; raises ``ApiError`` 400."""
    request = decode_for_count(body)
    if request.max_tokens is None:
        raise invalid_request("max_tokens: required: the most tokens the answer may have")
    if request.max_tokens < 1:
        raise invalid_request(f"max_tokens: must be at least 1, not {request.max_tokens}")
    return request


def decode_for_count(body: bytes) -> MessagesRequest:
    """Decode and check the body of ``count_tokens``, which needs no ``max_tokens``."""
    request = _parse(body)
    _check_thread(request.thread)
    if not request.model:
        raise invalid_request("model: must not be empty")
    if not request.messages:
        raise invalid_request("messages: at least one message is required")
    _check_tool_choice(request)
    _check_turns(request.messages)
    _check_sampling(request)
    check_nesting([*_free_form(request)])
    return request


# -- bytes to structs ----------------------------------------------------------------------------


def _parse(body: bytes) -> MessagesRequest:
    try:
        return decode_with_tools(body)
    except _UNREADABLE as error:
        return _parse_leniently(body, error)


def _parse_leniently(body: bytes, problem: Exception) -> MessagesRequest:
    """Read past the two flaws that a real client may have; else refuse.

    A ``thinking`` configuration of a later API counts as ``adaptive``. Halves of surrogate pairs,
    which JavaScript writes when it cuts text in the middle of an emoji, become U+FFFD: a refusal
    would end the conversation for good, since history is sent again with every turn.
    """
    try:
        if str(problem).endswith(" - at `$.thinking.type`"):
            fields = _decode_fields(body) | {"thinking": {"type": "adaptive"}}
            return decode_with_tools(msgspec.json.encode(fields))
        if len(body) <= MAX_REPAIRED_BYTES and (b"\\ud" in body or b"\\uD" in body):
            whole = _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], body)
            return decode_with_tools(whole)
    except _UNREADABLE as another:
        problem = another
    raise _refusal(problem) from None


def _refusal(error: Exception) -> ApiError:
    if isinstance(error, msgspec.ValidationError):
        problem, _, where = str(error).partition(" - at `$")
        return invalid_request(_sentence(where.strip("`.") or "body", problem))
    if isinstance(error, UnicodeDecodeError):
        return invalid_request(f"body: not valid UTF-8: {error.reason}")
    if isinstance(error, RecursionError):
        return invalid_request("body: nested too deeply")
    return invalid_request(f"body: not valid JSON: {error}")


def _sentence(path: str, problem: str) -> str:
    expected = next((hint for end, hint in _EXPECTED.items() if path.endswith(end)), "")
    problem = problem if len(problem) <= 200 else problem[:200] + "…"
    return f"{path}: {problem}, {expected}" if expected else f"{path}: {problem}"


# -- what the shape cannot say -------------------------------------------------------------------


def _check_thread(thread: Any) -> None:
    """Refuse to go on with a conversation that the client did not send: none is kept here.

    Anthropic's SDK has its tool runner do so by default, and sends everything again when it is
    told this. A model that was given the last message alone would answer it all the same.
    """
    if isinstance(thread, dict) and thread.get("type") == "continue":
        message = "thread: no conversation is kept here; send all of its messages"
        raise ApiError(404, message, error_code="thread_not_found")


def _check_tool_choice(request: MessagesRequest) -> None:
    choice = request.tool_choice
    if choice is None or choice.type in ("auto", "none"):
        return
    names = {tool.name for tool in request.tools or ()}
    if not names:
        raise invalid_request(f"tool_choice: {choice.type!r} needs tools, and there are none")
    if choice.type == "tool" and choice.name not in names:
        raise invalid_request(f"tool_choice.name: no tool is named {choice.name!r}")


def _check_turns(turns: list[Turn]) -> None:
    for index, turn in enumerate(turns):
        if isinstance(turn.content, str):
            continue
        if not _ALIEN[turn.role].isdisjoint(map(type, turn.content)):
            raise _misplaced(index, turn.role, turn.content)


def _misplaced(index: int, role: str, content: list[ContentBlock]) -> ApiError:
    found = (entry for entry in enumerate(content) if type(entry[1]) in _ALIEN[role])
    position, block = next(found)
    return invalid_request(
        f"messages[{index}].content[{position}].type: "
        f"{type(block).__struct_config__.tag!r} cannot be in a message of role {role!r}"
    )


def _check_sampling(request: MessagesRequest) -> None:
    for name, value in (("temperature", request.temperature), ("top_p", request.top_p)):
        if value is not None and not 0 <= value <= 1:
            raise invalid_request(f"{name}: must be between 0 and 1, not {value:g}")
    if request.top_k is not None and not 0 <= request.top_k < 2**31:
        raise invalid_request(f"top_k: must be between 0 and {2**31 - 1}")


def _free_form(request: MessagesRequest) -> Iterator[Any]:
    """Yield the parts of a request, its tools aside, that may hold any JSON."""
    for turn in request.messages:
        if not isinstance(turn.content, str):
            for block in turn.content:
                if (get := _FREE_FORM.get(type(block))) is not None:
                    yield get(block)
    config = request.output_config
    if config is not None and config.format is not None:
        yield config.format.schema
