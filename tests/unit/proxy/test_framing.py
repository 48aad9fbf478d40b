"""What is left over behind a whole request, with aiohttp's real parser, however the bytes come."""

import asyncio
import gzip
from collections.abc import Iterator

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given
from hypothesis import strategies as st

from llmctl.proxy.framing import Framing

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
BODIES = st.binary(max_size=40).filter(lambda body: b"\r\n\r\n" not in body)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def followed(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> Framing:
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    framing = Framing()
    for piece in pieces:
        messages, _, _ = parser.feed_data(piece)
        framing.follow(piece, messages[-1] if messages else None)
    return framing


def with_length(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes) -> bytes:
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n"


REQUESTS = st.lists(st.one_of(BODIES.map(with_length), BODIES.map(chunked)), max_size=4)


@given(REQUESTS, st.integers(0, len(HEAD)), st.lists(st.integers(0, 400), max_size=8))
def test_a_half_head_is_known_wherever_the_bytes_are_cut(
    loop: asyncio.AbstractEventLoop, requests: list[bytes], half: int, cuts: list[int]
) -> None:
    sent = b"".join(requests) + HEAD[:half]
    at = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [sent[a:b] for a, b in zip(at, at[1:], strict=False)]

    assert followed(loop, pieces).half_head is (half > 0)


@given(st.binary(max_size=40))
def test_a_body_that_contains_the_end_of_a_head(
    loop: asyncio.AbstractEventLoop, odd: bytes
) -> None:
    request = with_length(odd + b"\r\n\r\n" + odd)

    assert followed(loop, [request]).half_head is False


@pytest.mark.parametrize("behind", [b"\r\n", b"\r\n\r\n"])
def test_an_empty_line_behind_a_body_is_no_head(
    loop: asyncio.AbstractEventLoop, behind: bytes
) -> None:
    for request in (with_length(b"body"), chunked(b"body")):
        assert followed(loop, [request + behind]).half_head is False
        assert followed(loop, [request, behind]).half_head is False
        assert followed(loop, [request, behind, b"P"]).half_head is True


def test_a_body_is_no_head(loop: asyncio.AbstractEventLoop) -> None:
    request = with_length(b"body")
    assert followed(loop, [request[:-2]]).half_head is False
    assert followed(loop, [request[:-2], request[-2:]]).half_head is False
    assert followed(loop, [request[:20]]).half_head is True


def test_compressed_bodies_are_taken_for_whole_requests(loop: asyncio.AbstractEventLoop) -> None:
    packed = gzip.compress(b"a" * 1000)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    assert followed(loop, [head + packed]).half_head is False
    assert followed(loop, [head + packed[:5], packed[5:]]).half_head is False
