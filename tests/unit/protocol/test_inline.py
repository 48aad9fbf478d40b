import json

import msgspec
import pytest

from llmctl.protocol.anthropic import ContentBlock, ImageBlock, TextBlock, Turn
from llmctl.protocol.inline import MAX_URL, blocks, image_note, joined, plain


def block(**fields):
    return msgspec.json.decode(json.dumps(fields), type=ContentBlock)


def texts(**fields):
    return [part.text for part in plain(block(**fields))]


def source(kind, **fields):
    return {"type": kind, **fields}


PDF = source("base64", media_type="application/pdf", data="aGVsbG8=")
PNG = source("base64", media_type="image/png", data="aGk=")


def test_text_stays_and_empty_text_goes():
    assert texts(type="text", text="x") == ["x"]
    assert texts(type="text", text="") == []


def test_inline_images_stay():
    [image] = plain(block(type="image", source=PNG))
    assert isinstance(image, ImageBlock)
    assert image_note(image.source) == "[image not shown: image/png, 2 bytes]"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (source("url", url="https://x/y.png"), "[image not shown: https://x/y.png]"),
        (
            source("url", url="data:" + "x" * 10_000),
            f"[image not shown: data:{'x' * (MAX_URL - 5)}]",
        ),
        (source("file", file_id="file_1"), "[image not shown: file file_1]"),
    ],
)
def test_images_elsewhere_are_named(where, said):
    assert texts(type="image", source=where) == [said]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"source": source("text", data="body"), "title": 'a "b"', "context": "from mail"},
            '<document "a \\"b\\"">\nfrom mail\n\nbody\n</document>',
        ),
        ({"source": source("text", data="body")}, "<document>\nbody\n</document>"),
        ({"source": source("content", content="c")}, "<document>\nc\n</document>"),
        (
            {"source": PDF, "title": "r.pdf"},
            '[document "r.pdf" not shown: application/pdf, 5 bytes]',
        ),
        ({"source": source("url", url="u")}, "[document not shown: u]"),
    ],
)
def test_documents(fields, said):
    assert texts(type="document", **fields) == [said]


def test_a_document_of_blocks_keeps_its_images():
    content = [{"type": "text", "text": "a"}, {"type": "image", "source": PNG}]
    text, image = plain(block(type="document", source=source("content", content=content)))
    assert text.text == "<document>\na\n</document>"
    assert isinstance(image, ImageBlock)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "thinking", "thinking": "x"}, []),
        ({"type": "redacted_thinking"}, []),
        ({"type": "tool_reference", "tool_name": "Read"}, ["[tool Read]"]),
        (
            {
                "type": "search_result",
                "source": "s",
                "title": "t",
                "content": [{"type": "text", "text": "x"}],
            },
            ["t (s)\nx"],
        ),
        (
            {"type": "server_tool_use", "name": "web_search", "input": {"q": "x", "a": 1}},
            ['[called web_search with {"a":1,"q":"x"}]'],
        ),
        (
            {
                "type": "web_search_tool_result",
                "content": [{"url": "u", "title": "t"}, {"url": "v"}, 5],
            },
            ["[web search results]\n- t (u)\n- untitled (v)\n- 5"],
        ),
        (
            {"type": "web_search_tool_result", "content": {"error_code": "unavailable"}},
            ["[web search results]\n- failed: unavailable"],
        ),
    ],
)
def test_what_only_anthropic_has(fields, said):
    assert texts(**fields) == said


def test_joined_text_skips_what_is_empty_or_no_text():
    image = block(type="image", source=PNG)
    parts = [TextBlock(text="a"), image, TextBlock(text=""), TextBlock(text="b")]
    assert joined(parts) == "a\n\nb"


def test_a_string_is_one_block():
    assert blocks(Turn(role="user", content="x")) == [TextBlock(text="x")]
