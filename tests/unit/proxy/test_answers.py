"""The cache as the proxy sees it: memory in front, a store behind, and values that are no answers."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.cache.memory import MemoryStore
from llmctl.protocol.anthropic import Message, TextBlock, TokenUsage, ToolUseBlock, dump_message
from llmctl.protocol.message import Replay
from llmctl.proxy.answers import Answers, Shortcut
from tests.clocks import ManualClock
from tests.sealing import ABOUT, entries_in, entry, sealed

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


@pytest.fixture
def answers(store, clock, tmp_path):
    def make(**fields) -> Answers:
        entries = entries_in(store, clock, tmp_path, look_s=0)
        wishes = {"memory_bytes": 100_000, "ttl_s": HOUR, "clock": clock}
        return Answers(entries, **(wishes | fields))

    return make


def message(text: str = "Hello", **fields) -> Message:
    whole = {
        "model": "m",
        "content": [TextBlock(text=text)],
        "stop_reason": "end_turn",
        "usage": TokenUsage(input_tokens=3, output_tokens=2),
    }
    return Message(**(whole | fields))


async def test_what_is_put_comes_back_from_memory_and_from_the_store(answers, store, clock):
    one, another = answers(), answers()
    one.put(KEY, Replay(message()), ABOUT)
    assert one.hot(KEY).message == message()
    assert another.hot(KEY) is None
    assert (await another.get(KEY)).message == message()
    assert another.hot(KEY).message == message()
    assert store.puts[0][2] == HOUR


async def test_an_answer_expires_at_its_time_wherever_it_was_read(answers, store, clock):
    first, late = answers(), answers()
    first.put(KEY, Replay(message()), ABOUT)
    clock.advance(HOUR - 1)
    assert await late.get(KEY) is not None
    clock.advance(1)
    assert late.hot(KEY) is None
    assert first.hot(KEY) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1 is no msgpack", b"\x80", dump_message(message())[:-3]],
    ids=["no body", "no msgpack", "no message", "cut"],
)
async def test_an_entry_that_is_no_answer_is_a_miss(answers, store, clock, body):
    store.put(KEY, sealed(KEY, entry(clock.now(), body)), ttl_s=HOUR)
    reading = answers()
    assert await reading.get(KEY) is None
    assert reading.hot(KEY) is None


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_at_all_make_a_read_fail(junk, well_sealed):
    clock = ManualClock()
    store = Store(clock)
    value = sealed(KEY, entry(clock.now(), junk)) if well_sealed else junk
    store.put(KEY, value, ttl_s=HOUR)
    with TemporaryDirectory() as directory:
        entries = entries_in(store, clock, Path(directory))
        reading = Answers(entries, memory_bytes=1000, ttl_s=HOUR, clock=clock)
        assert asyncio.run(reading.get(KEY)) is None


async def test_the_clock_of_another_machine_makes_nothing_live_longer(answers, store, clock):
    ahead = entry(clock.now() + 1_000_000, dump_message(message()))
    store.put(KEY, sealed(KEY, ahead), ttl_s=10 * HOUR)
    reading = answers()
    assert await reading.get(KEY) is not None
    clock.advance(HOUR)
    assert reading.hot(KEY) is None


@pytest.mark.parametrize(
    "tool_input",
    [{"n": 2**70}, {"n": [-(2**80)]}, {"text": "\ud83d"}],
    ids=["huge", "huge negative", "lone surrogate"],
)
async def test_what_a_store_cannot_hold_is_not_kept_and_does_no_harm(
    answers, store, clock, tool_input
):
    call = ToolUseBlock(id="", name="Bash", input=tool_input)
    kept = answers()
    replay = Replay(message())
    replay.message = message(content=[call], stop_reason="tool_use")
    kept.put(KEY, replay, ABOUT)
    assert store.puts == []
    assert await kept.get(KEY) is None


async def test_one_that_is_finished_while_the_store_is_asked_is_found(answers, store, clock):
    kept = answers()
    store.gate = asyncio.Event()
    asking = asyncio.get_running_loop().create_task(kept.get(KEY))
    await asyncio.sleep(0)
    kept.put(KEY, Replay(message()), ABOUT)
    store.gate.set()
    assert (await asking).message == message()


async def test_memory_holds_what_was_used_last(answers, store, clock):
    kept = answers(memory_bytes=10_000)
    keys = [bytes([number]) * 32 for number in range(20)]
    for key in keys:
        kept.put(key, Replay(message("x" * 300)), ABOUT)
    hot = [key for key in keys if kept.hot(key)]
    assert hot == keys[-len(hot) :]
    assert 3 <= len(hot) <= 9
    assert all([await kept.get(key) for key in keys])


async def test_clear_forgets_everything(answers, store, clock):
    kept = answers()
    kept.put(KEY, Replay(message()), ABOUT)
    kept.remember(b"raw", Shortcut(key=KEY, stream=True, asked="m", digest="d"))
    assert kept.shortcut(b"raw").key == KEY
    assert await kept.clear() == 1
    assert (kept.hot(KEY), await kept.get(KEY), kept.shortcut(b"raw")) == (None, None, None)


async def test_what_another_process_forgets_is_forgotten_here(answers):
    kept, other = answers(), answers()
    kept.put(KEY, Replay(message()), ABOUT)
    kept.remember(b"raw", Shortcut(key=KEY, stream=True, asked="m", digest="d"))
    await kept.store.start()
    await other.clear()
    await eventually_let_go(kept)
    assert (kept.hot(KEY), await kept.get(KEY), kept.shortcut(b"raw")) == (None, None, None)
    await kept.store.close()


async def eventually_let_go(kept: Answers) -> None:
    """Wait for one look at what others have forgotten."""
    gone = asyncio.Event()
    kept.store.on_forgotten.append(gone.set)
    async with asyncio.timeout(20):
        await gone.wait()


async def test_the_way_from_a_raw_body_expires_too(answers, store, clock):
    kept = answers()
    kept.remember(b"raw", Shortcut(key=KEY, stream=True, asked="m", digest="d"))
    clock.advance(HOUR)
    assert kept.shortcut(b"raw") is None
