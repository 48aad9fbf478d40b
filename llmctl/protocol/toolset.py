"""The tools of a request, decoded and checked once for all requests that bring the same bytes."""

import re
from collections import OrderedDict

import msgspec

from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.errors import invalid_request
from llmctl.protocol.nesting import check_nesting

MAX_TOOLS = 1000
MAX_TOOLSETS = 32
"""Sets of tools that are remembered."""

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_Clue = tuple[int, bytes, bytes]


class _Wire(MessagesRequest, frozen=True, kw_only=True):
    """A request whose tools are still bytes."""

    tools: msgspec.Raw = msgspec.Raw()  # type: ignore[assignment]


_decode_wire = msgspec.json.Decoder(_Wire).decode
_decode_tools = msgspec.json.Decoder(list[Tool] | None).decode
_known: OrderedDict[_Clue, tuple[bytes, list[Tool] | None]] = OrderedDict()


def decode_with_tools(body: bytes) -> MessagesRequest:
    """Decode a request; its ``tools`` are the same list for every body with the same tools.

    Raises what msgspec raises, with the path from the body's root, and ``ApiError`` 400.
    """
    wire = _decode_wire(body)
    text = bytes(wire.tools)
    return msgspec.structs.replace(wire, tools=_toolset(text) if text else None)


def _toolset(text: bytes) -> list[Tool] | None:
    """Find tools by a few of their bytes, then compare all: quicker than a hash of all."""
    clue = (len(text), text[:64], text[-64:])
    known = _known.get(clue)
    if known is not None and known[0] == text:
        _known.move_to_end(clue)
        return known[1]
    try:
        tools: list[Tool] | None = _decode_tools(text)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(str(error).replace("`$", "`$.tools")) from None
    _check(tools or [])
    _known[clue] = (text, tools)
    if len(_known) > MAX_TOOLSETS:
        _known.popitem(last=False)
    return tools


def _check(tools: list[Tool]) -> None:
    if len(tools) > MAX_TOOLS:
        raise invalid_request(f"tools: {len(tools)} tools are more than the {MAX_TOOLS} allowed")
    names: dict[str, int] = {}
    for index, tool in enumerate(tools):
        if not _TOOL_NAME.fullmatch(tool.name):
            raise invalid_request(
                f"tools[{index}].name: {tool.name[:140]!r} is not 1 to 128 letters, digits, _ or -"
            )
        first = names.setdefault(tool.name, index)
        if first != index:
            raise invalid_request(
                f"tools[{index}].name: {tool.name!r} is already the name of tools[{first}]"
            )
    check_nesting([tool.input_schema for tool in tools])
