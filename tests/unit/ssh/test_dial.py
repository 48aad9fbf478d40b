"""Work in a thread of its own, and what becomes of a result that nobody waits for."""

import asyncio
import threading

import pytest

from llmctl.core.errors import SshError
from llmctl.ssh.dial import in_thread, knock


async def test_the_result_or_the_failure_comes_back() -> None:
    undone: list[int] = []
    assert await in_thread(lambda: 7, undo=undone.append) == 7

    def fail() -> int:
        raise SshError("no")

    with pytest.raises(SshError, match="no"):
        await in_thread(fail, undo=undone.append)
    assert undone == []


async def test_a_result_that_comes_too_late_is_undone() -> None:
    go, undone = threading.Event(), threading.Event()

    def work() -> int:
        go.wait(10)
        return 7

    task = asyncio.ensure_future(in_thread(work, undo=lambda _: undone.set()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    for _ in range(1000):
        if undone.is_set():
            break
        await asyncio.sleep(0.001)
    assert undone.is_set()


def test_a_result_for_a_loop_that_is_gone_is_undone() -> None:
    go, undone = threading.Event(), threading.Event()

    def work() -> int:
        go.wait(10)
        return 7

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await in_thread(work, undo=lambda _: undone.set())

    asyncio.run(leave())
    go.set()
    assert undone.wait(10)


async def test_a_machine_without_an_address_cannot_be_knocked_at() -> None:
    with pytest.raises(SshError, match="has no address"):
        await knock(())
