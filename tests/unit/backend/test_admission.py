import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.backend.admission import Admission
from llmctl.protocol.errors import ApiError

FOREVER_S = 3600.0


def admission(parallel: int = 1, queue: int = 8) -> Admission:
    return Admission("ollama:http://127.0.0.1:1", parallel=parallel, queue=queue)


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


class Visitors:
    """Tasks that enter one after the other, and the order in which they got in."""

    def __init__(self, gate: Admission, within_s: float = FOREVER_S) -> None:
        self.gate = gate
        self.within_s = within_s
        self.entered: list[str] = []

    async def come(self, name: str, *, background: bool = False) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._enter(name, background))
        await settle()
        return task

    async def _enter(self, name: str, background: bool) -> None:
        await self.gate.enter(background=background, within_s=self.within_s)
        self.entered.append(name)


async def test_as_many_as_slots_enter_at_once() -> None:
    gate = admission(parallel=2)
    visitors = Visitors(gate)
    tasks = [await visitors.come(name) for name in "abc"]
    assert visitors.entered == ["a", "b"]
    assert (gate.in_flight, gate.queued) == (2, 1)
    gate.leave()
    await asyncio.gather(*tasks)
    assert visitors.entered == ["a", "b", "c"]
    assert (gate.in_flight, gate.queued) == (2, 0)


async def test_main_requests_go_before_background_ones_and_each_by_arrival() -> None:
    gate = admission()
    visitors = Visitors(gate)
    await visitors.come("first")
    tasks = [
        await visitors.come("title 1", background=True),
        await visitors.come("main 1"),
        await visitors.come("title 2", background=True),
        await visitors.come("main 2"),
    ]
    for _ in tasks:
        gate.leave()
        await settle()
    assert visitors.entered == ["first", "main 1", "main 2", "title 1", "title 2"]


async def test_a_full_queue_refuses_at_once() -> None:
    gate = admission(queue=1)
    visitors = Visitors(gate)
    await visitors.come("in")
    waiting = await visitors.come("waiting")
    with pytest.raises(ApiError) as caught:
        await gate.enter(background=False, within_s=FOREVER_S)
    error = caught.value
    assert (error.status, error.retry_after_s, error.another_backend) == (529, 5, True)
    assert "1 requests in progress, 1 waiting" in error.message
    gate.leave()
    await waiting


async def test_a_queue_of_none_still_fills_the_slots() -> None:
    gate = admission(parallel=1, queue=0)
    await gate.enter(background=False, within_s=FOREVER_S)
    with pytest.raises(ApiError):
        await gate.enter(background=False, within_s=FOREVER_S)


async def test_waiting_too_long_is_told_and_leaves_the_queue() -> None:
    gate = admission()
    await gate.enter(background=False, within_s=FOREVER_S)
    with pytest.raises(ApiError, match=r"no slot of ollama:\S+ became free within 0.001 s"):
        await gate.enter(background=False, within_s=0.001)
    assert (gate.in_flight, gate.queued) == (1, 0)


async def test_who_is_cancelled_leaves_the_queue_at_once() -> None:
    gate = admission()
    visitors = Visitors(gate)
    await visitors.come("in")
    gone, next_one = await visitors.come("gone"), await visitors.come("next")
    gone.cancel()
    await settle()
    assert gate.queued == 1
    gate.leave()
    await next_one
    assert visitors.entered == ["in", "next"]


async def test_a_slot_given_to_somebody_just_cancelled_goes_on_to_the_next() -> None:
    gate = admission()
    visitors = Visitors(gate)
    await visitors.come("in")
    gone, next_one = await visitors.come("gone"), await visitors.come("next")
    gate.leave()  # hands the slot to "gone", whose task has not run yet
    gone.cancel()
    await next_one
    assert visitors.entered == ["in", "next"]
    assert (gate.in_flight, gate.queued) == (1, 0)


@given(
    parallel=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from(["come", "leave", "cancel"]), st.booleans())),
)
def test_slots_are_never_lost_nor_given_twice(parallel, steps) -> None:
    async def scenario() -> None:
        gate = admission(parallel=parallel, queue=4)
        inside: set[asyncio.Task[None]] = set()
        waiting: list[asyncio.Task[None]] = []

        def sort_out() -> None:
            for task in [task for task in waiting if task.done()]:
                waiting.remove(task)
                if not task.cancelled() and task.exception() is None:
                    inside.add(task)

        for step, flag in steps:
            if step == "come":
                entering = gate.enter(background=flag, within_s=FOREVER_S)
                waiting.append(asyncio.get_running_loop().create_task(entering))
            elif step == "leave" and inside:
                inside.pop()
                gate.leave()
            elif step == "cancel" and waiting:
                waiting[-1 if flag else 0].cancel()
            if flag:  # otherwise the next step meets tasks that have not run yet
                await settle()
                sort_out()
        await settle()
        sort_out()
        assert gate.in_flight == len(inside) <= parallel
        assert gate.queued == len(waiting)
        assert not waiting or len(inside) == parallel
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scenario())
