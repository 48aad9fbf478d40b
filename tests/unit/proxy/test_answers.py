"""The cache as the proxy sees it: memory in front, a store behind, and values that are no answers."""

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.cache.memory import MemoryStore
from llmctl.protocol.anthropic import Message, TextBlock, TokenUsage, ToolUseBlock, dump_message
from llmctl.protocol.message import Replay
from llmctl.proxy.answers import Answers, Shortcut
from tests.clocks import ManualClock

KEY = b"k" * 32
HOUR = 3600.0


class Store(MemoryStore):
    """Also tells what was put, and can make a reader wait."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(max_bytes=1_000_000, clock=clock)
        self.gate: asyncio.Event | None = None
        self.puts: list[tuple[bytes, bytes, float]] = []

    async def get(self, key: bytes) -> bytes | None:
        value = await super().get(key)
        if self.gate is not None:
            await self.gate.wait()
        return value

    def put(self, key: bytes, value: bytes, *, ttl_s: float) -> None:
        self.puts.append((key, value, ttl_s))
        super().put(key, value, ttl_s=ttl_s)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock) -> Store:
    return Store(clock)


def answers(store: Store, clock: ManualClock, **fields) -> Answers:
    return Answers(store, **({"memory_bytes": 100_000, "ttl_s": HOUR, "clock": clock} | fields))


def message(text: str = "Hello", **fields) -> Message:
    whole = {
        "model": "m",
        "content": [TextBlock(text=text)],
        "stop_reason": "end_turn",
        "usage": TokenUsage(input_tokens=3, output_tokens=2),
    }
    return Message(**(whole | fields))


def value(stored_at: float, body: bytes | None = None, form: bytes = b"\x01") -> bytes:
    return struct.pack(">cd", form, stored_at) + (dump_message(message()) if body is None else body)


async def test_what_is_put_comes_back_from_memory_and_from_the_store(store, clock):
    one, another = answers(store, clock), answers(store, clock)
    one.put(KEY, Replay(message()))
    assert one.hot(KEY).message == message()
    assert another.hot(KEY) is None
    assert (await another.get(KEY)).message == message()
    assert another.hot(KEY).message == message()
    assert store.puts[0][2] == HOUR


async def test_an_answer_expires_at_its_time_wherever_it_was_read(store, clock):
    first, late = answers(store, clock), answers(store, clock)
    first.put(KEY, Replay(message()))
    clock.advance(HOUR - 1)
    assert await late.get(KEY) is not None
    clock.advance(1)
    assert late.hot(KEY) is None
    assert first.hot(KEY) is None


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\x01",
        value(0.0, b""),
        value(0.0, b"\xc1 is no msgpack"),
        value(0.0, b"\x80"),
        value(0.0, form=b"\x02"),
        value(float("nan")),
        value(float("-inf")),
        value(0.0, dump_message(message())[:-3]),
    ],
    ids=["empty", "short", "no body", "no msgpack", "no message", "format", "nan", "old", "cut"],
)
async def test_a_value_that_is_no_answer_is_a_miss(store, clock, broken):
    # what carries a time carries one at which it would still be good
    now = struct.pack(">d", clock.now())
    store.put(KEY, broken.replace(struct.pack(">d", 0.0), now), ttl_s=HOUR)
    reading = answers(store, clock)
    assert await reading.get(KEY) is None
    assert reading.hot(KEY) is None


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_at_all_make_a_read_fail(junk, with_header):
    clock = ManualClock()
    store = Store(clock)
    store.put(KEY, value(clock.now(), junk) if with_header else junk, ttl_s=HOUR)
    asyncio.run(answers(store, clock).get(KEY))


async def test_the_clock_of_another_machine_makes_nothing_live_longer(store, clock):
    store.put(KEY, value(clock.now() + 1_000_000), ttl_s=10 * HOUR)
    reading = answers(store, clock)
    assert await reading.get(KEY) is not None
    clock.advance(HOUR)
    assert reading.hot(KEY) is None


@pytest.mark.parametrize(
    "tool_input",
    [{"n": 2**70}, {"n": [-(2**80)]}, {"text": "\ud83d"}],
    ids=["huge", "huge negative", "lone surrogate"],
)
async def test_what_a_store_cannot_hold_is_not_kept_and_does_no_harm(store, clock, tool_input):
    call = ToolUseBlock(id="", name="Bash", input=tool_input)
    kept = answers(store, clock)
    replay = Replay(message())
    replay.message = message(content=[call], stop_reason="tool_use")
    kept.put(KEY, replay)
    assert store.puts == []
    assert await kept.get(KEY) is None


async def test_one_that_is_finished_while_the_store_is_asked_is_found(store, clock):
    kept = answers(store, clock)
    store.gate = asyncio.Event()
    asking = asyncio.get_running_loop().create_task(kept.get(KEY))
    await asyncio.sleep(0)
    kept.put(KEY, Replay(message()))
    store.gate.set()
    assert (await asking).message == message()


async def test_memory_holds_what_was_used_last(store, clock):
    kept = answers(store, clock, memory_bytes=10_000)
    keys = [bytes([number]) * 32 for number in range(20)]
    for key in keys:
        kept.put(key, Replay(message("x" * 300)))
    hot = [key for key in keys if kept.hot(key)]
    assert hot == keys[-len(hot) :]
    assert 3 <= len(hot) <= 9
    assert all([await kept.get(key) for key in keys])


async def test_clear_forgets_everything(store, clock):
    kept = answers(store, clock)
    kept.put(KEY, Replay(message()))
    kept.remember(b"raw", Shortcut(key=KEY, stream=True, asked="m", digest="d"))
    assert kept.shortcut(b"raw").key == KEY
    assert await kept.clear() == 1
    assert (kept.hot(KEY), await kept.get(KEY), kept.shortcut(b"raw")) == (None, None, None)


async def test_the_way_from_a_raw_body_expires_too(store, clock):
    kept = answers(store, clock)
    kept.remember(b"raw", Shortcut(key=KEY, stream=True, asked="m", digest="d"))
    clock.advance(HOUR)
    assert kept.shortcut(b"raw") is None
