"""Content a local model cannot take, as text that says what it was.

The words depend on the content alone, so the same history always becomes the same prompt.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from llmctl.protocol.anthropic import (
    Base64Source,
    ContentBlock,
    ContentSource,
    DocumentBlock,
    FileSource,
    ImageBlock,
    PlainTextSource,
    RedactedThinkingBlock,
    SearchResultBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolReferenceBlock,
    Turn,
    UrlSource,
    WebSearchToolResultBlock,
)

Plain = TextBlock | ImageBlock
MAX_URL = 200
"""Characters of a URL worth reading; a ``data:`` URL may hold megabytes."""
_encode = msgspec.json.Encoder(order="sorted").encode


def blocks(turn: Turn) -> list[ContentBlock]:
    """Return the content of ``turn`` as blocks: a string is one block of text."""
    return [TextBlock(text=turn.content)] if isinstance(turn.content, str) else turn.content


def joined(content: Iterable[ContentBlock]) -> str:
    """Return the text of some blocks, a blank line between two of them; empty text is skipped."""
    return "\n\n".join(
        block.text for block in content if isinstance(block, TextBlock) and block.text
    )


def image_note(source: Base64Source | UrlSource | FileSource) -> str:
    """Return what stands for an image that is not shown to the model."""
    return f"[image not shown: {_origin(source)}]"


def plain(block: ContentBlock) -> Iterator[Plain]:
    """Yield ``block`` as text and inline images; nothing for thinking and empty text.

    A ``tool_result`` is no plain content and must not come here.
    """
    if isinstance(block, TextBlock):
        if block.text:
            yield block
    elif isinstance(block, ImageBlock):
        inline = isinstance(block.source, Base64Source)
        yield block if inline else TextBlock(text=image_note(block.source))
    elif isinstance(block, DocumentBlock):
        yield from _document(block)
    else:
        text = _TEXTS[type(block)](block)
        if text:
            yield TextBlock(text=text)


def _origin(source: Base64Source | UrlSource | FileSource) -> str:
    if isinstance(source, Base64Source):
        size = len(source.data) * 3 // 4 - source.data[-2:].count("=")
        return f"{source.media_type}, {size} bytes"
    if isinstance(source, UrlSource):
        return source.url[:MAX_URL]
    return f"file {source.file_id}"


def _document(block: DocumentBlock) -> Iterator[Plain]:
    title = f" {msgspec.json.encode(block.title).decode()}" if block.title else ""
    source = block.source
    if not isinstance(source, PlainTextSource | ContentSource):
        yield TextBlock(text=f"[document{title} not shown: {_origin(source)}]")
        return
    head = f"<document{title}>\n" + (f"{block.context}\n\n" if block.context else "")
    if isinstance(source, PlainTextSource):
        yield TextBlock(text=f"{head}{source.data}\n</document>")
        return
    parts = [TextBlock(text=source.content)] if isinstance(source.content, str) else source.content
    yield TextBlock(text=f"{head}{joined(parts)}\n</document>")
    for part in parts:
        if isinstance(part, ImageBlock):
            yield from plain(part)


def _nothing(_block: ThinkingBlock | RedactedThinkingBlock) -> str:
    return ""


def _search_result(block: SearchResultBlock) -> str:
    return f"{block.title} ({block.source})\n{joined(block.content)}"


def _tool_reference(block: ToolReferenceBlock) -> str:
    return f"[tool {block.tool_name}]"


def _server_call(block: ServerToolUseBlock) -> str:
    return f"[called {block.name} with {_encode(block.input).decode()}]"


def _web_results(block: WebSearchToolResultBlock) -> str:
    found = block.content if isinstance(block.content, list) else [block.content]
    return "\n".join(["[web search results]", *map(_web_result, found)])


def _web_result(found: Any) -> str:
    if isinstance(found, dict) and "url" in found:
        return f"- {found.get('title') or 'untitled'} ({found['url']})"
    if isinstance(found, dict) and "error_code" in found:
        return f"- failed: {found['error_code']}"
    return f"- {_encode(found).decode()}"


_TEXTS: dict[type, Callable[[Any], str]] = {
    ThinkingBlock: _nothing,
    RedactedThinkingBlock: _nothing,
    SearchResultBlock: _search_result,
    ToolReferenceBlock: _tool_reference,
    ServerToolUseBlock: _server_call,
    WebSearchToolResultBlock: _web_results,
}
