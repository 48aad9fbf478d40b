"""Bodies: whole, in pieces, too large, too slow, broken."""

import asyncio

import pytest
from aiohttp import StreamReader
from aiohttp.http_exceptions import ContentEncodingError
from aiohttp.test_utils import make_mocked_request
from aiohttp.web import RequestPayloadError

from llmctl.protocol.errors import ApiError
from llmctl.proxy.body import SLOWEST_BYTES_S, BodyLimits, read_body
from tests.clocks import ManualClock
from tests.unit.proxy.wire import virtually

LIMITS = BodyLimits(max_bytes=1000, pause_s=20.0)


class Protocol:
    """What a reader needs of its connection."""

    _reading_paused = False
    connected = True

    def pause_reading(self) -> None: ...
    def resume_reading(self, resume_parser: bool = True) -> None: ...


def reader() -> StreamReader:
    return StreamReader(Protocol(), 2**16, loop=asyncio.get_running_loop())


def request(content: StreamReader, **headers: str):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("POST", "/v1/messages", headers=fields, payload=content)


async def refusal(content: StreamReader, limits: BodyLimits = LIMITS, **headers: str) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await read_body(request(content, **headers), limits)
    return refused.value


async def test_pieces_come_together_in_order():
    content = reader()
    reading = asyncio.get_running_loop().create_task(read_body(request(content), LIMITS))
    for piece in (b"one ", b"two ", b"three"):
        content.feed_data(piece)
        await asyncio.sleep(0)
    content.feed_eof()
    assert await reading == b"one two three"


async def test_nothing_is_an_empty_body():
    content = reader()
    content.feed_eof()
    assert await read_body(request(content), LIMITS) == b""


@pytest.mark.parametrize("size", [999, 1000])
async def test_up_to_the_limit_it_is_read(size):
    content = reader()
    content.feed_data(b"x" * size)
    content.feed_eof()
    assert len(await read_body(request(content), LIMITS)) == size


async def test_beyond_the_limit_it_is_refused_before_the_rest_arrives():
    content = reader()
    content.feed_data(b"x" * 1001)
    refused = await refusal(content)
    assert (refused.status, refused.type) == (413, "request_too_large")


async def test_an_announced_length_beyond_the_limit_is_refused_at_once():
    assert (await refusal(reader(), Content_Length="1001")).status == 413


@virtually
async def test_silence_is_a_408_but_each_piece_buys_time(clock: ManualClock) -> None:
    content, limits = reader(), BodyLimits(max_bytes=100_000, pause_s=20.0)
    reading = asyncio.get_running_loop().create_task(refusal(content, limits))
    for _ in range(10):
        await asyncio.sleep(LIMITS.pause_s - 1)
        content.feed_data(b"x" * 19 * SLOWEST_BYTES_S)
    said_at = clock.monotonic()
    assert not reading.done()
    refused = await reading
    assert refused.status == 408
    assert clock.monotonic() - said_at == pytest.approx(LIMITS.pause_s)


@virtually
async def test_drops_buy_next_to_no_time(clock: ManualClock) -> None:
    begun = clock.monotonic()
    content = reader()
    reading = asyncio.get_running_loop().create_task(refusal(content))
    while not reading.done():
        content.feed_data(b"x")
        await asyncio.sleep(1.0)
    assert (await reading).status == 408
    assert clock.monotonic() - begun == pytest.approx(LIMITS.pause_s, abs=2.0)


@pytest.mark.parametrize(
    "broken", [RequestPayloadError("cut short"), ContentEncodingError("not gzip")]
)
async def test_a_body_that_breaks_is_a_400_that_says_how(broken):
    content = reader()
    content.feed_data(b"half")
    content.set_exception(broken)
    refused = await refusal(content)
    assert refused.status == 400
    assert "could not be read" in refused.message


@pytest.mark.parametrize(
    ("declared", "taken"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("", False),
    ],
)
async def test_only_json_is_taken(declared, taken):
    content = reader()
    content.feed_data(b"{}")
    content.feed_eof()
    if taken:
        assert await read_body(request(content, Content_Type=declared), LIMITS) == b"{}"
    else:
        assert (await refusal(content, Content_Type=declared)).status == 415


async def test_an_expectation_that_is_not_understood_is_a_417():
    assert (await refusal(reader(), Expect="a miracle")).status == 417
