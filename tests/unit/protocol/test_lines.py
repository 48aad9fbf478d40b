import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.errors import ApiError
from llmctl.protocol.lines import Lines
from llmctl.protocol.ollama_stream import OllamaDecoder
from llmctl.protocol.openai_stream import OpenAIDecoder
from tests.unit.protocol.streams import cuts, pieces


@given(st.binary(max_size=200).map(lambda raw: raw.replace(b"\x00", b"\n")), cuts)
def test_any_split_gives_the_same_lines(data, where):
    lines = Lines()
    found = [line for piece in pieces(data, where) for line in lines.feed(piece)]
    assert [*found, lines.rest()] == data.split(b"\n")


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_a_line_beyond_the_limit_ends_it_where_it_begins(size):
    data = b"short\n" + b"x" * 11 + b"\nafter\n"
    lines = Lines(max_bytes=10)
    found = []
    for piece in pieces(data, range(0, len(data), size)):
        found += lines.feed(piece)
        if lines.too_long:
            break
    assert found == [b"short"]
    assert lines.too_long


def test_the_limit_is_for_a_line_not_for_what_arrives_at_once():
    lines = Lines(max_bytes=10)
    assert len(lines.feed(b"0123456789\n" * 50)) == 50
    assert not lines.too_long


NOISE = st.lists(
    st.binary(max_size=8)
    | st.sampled_from(
        [
            b'{"message":{"content":"a"}}',
            b'{"message":{"tool_calls":[{"function":{"arguments":{"a":1}}}]}}',
            b'{"error":{"code":"x"}}',
            b'{"done":true}',
            b'data: {"choices":[{"delta":{"content":"a"}}]}',
            b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"x"}}]}}]}',
            b'data: {"choices":[{"finish_reason":"stop"}],"usage":{}}',
            b"data: [DONE]",
            b"\n",
            b"\r\n",
        ]
    ),
    max_size=8,
).map(b"".join)


@pytest.mark.parametrize("decoder", [OllamaDecoder, OpenAIDecoder])
@given(NOISE, cuts)
def test_any_split_of_any_bytes_gives_the_same_chunks_and_error(decoder, data, where):
    whole = outcome(decoder(model="m"), [data])
    assert outcome(decoder(model="m"), pieces(data, where)) == whole


def outcome(decoder, parts):
    """Return what a stream decodes to, up to its end or its error."""
    chunks = []
    try:
        for part in parts:
            chunks += decoder.feed(part)
        return [*chunks, *decoder.finish()], None
    except ApiError as error:
        return chunks, (error.status, error.message)
