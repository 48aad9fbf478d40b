"""Time passes here only as the loop's own timers let it: nothing asserts a wall-clock figure."""

import asyncio
import time

import pytest

from llmctl.cache.budget import EXCUSED, STEPS, within


async def test_what_answers_in_time_is_returned():
    assert await within(5, asyncio.sleep(0, "answer")) == "answer"


async def test_what_does_not_answer_is_cancelled():
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await within(0.002, hang())
    assert ended.is_set()


async def test_a_failure_passes_through():
    async def fail() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await within(5, fail())


async def test_the_callers_own_cancellation_stays_one():
    waiting = asyncio.ensure_future(within(5, asyncio.Event().wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_late_loop_is_not_held_against_the_answer():
    """Each turn takes longer than the whole budget; an answer that needs three still arrives."""
    loop = asyncio.get_running_loop()
    budget_s = 0.004
    blocked = 0

    def block() -> None:
        nonlocal blocked
        blocked += 1
        time.sleep(2 * budget_s)
        if blocked < 50:
            loop.call_soon(block)

    async def answer() -> int:
        for _ in range(3):
            await asyncio.sleep(0)
        return blocked

    loop.call_soon(block)
    assert await within(budget_s, answer()) >= 3


async def test_a_late_loop_does_not_excuse_silence_for_ever():
    loop = asyncio.get_running_loop()
    turns = 0

    def block() -> None:
        nonlocal turns
        turns += 1
        time.sleep(0.004)
        if turns < 1000:
            loop.call_soon(block)

    loop.call_soon(block)
    with pytest.raises(TimeoutError):
        await within(0.004, asyncio.Event().wait())
    assert STEPS + EXCUSED <= turns < 1000
    turns = 1000
    await asyncio.sleep(0)
