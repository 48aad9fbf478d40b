import contextlib

import pytest

from llmctl.core.errors import SshError
from llmctl.core.reports_live import GpuUse
from llmctl.ops.gpus import AGAIN_S, EVERY_S, QUERY, Cards, read_cards
from llmctl.ssh.remote import Ran

TWO = "NVIDIA H100 80GB HBM3, 61440, 81559, 97\nNVIDIA H100 80GB HBM3, 12, 81559, [N/A]\n"


class Remote:
    """Answers with one text after the other; an exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def run(self, script, *, stdin=b"", timeout_s=60.0):
        self.asked.append(script)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Ran(status=0, stdout=answer, stderr="")


class Sleeper:
    """Lets the tasks sleep until the test wakes them; remembers for how long they wanted to."""

    def __init__(self):
        import asyncio

        self.wanted = []
        self._turn = asyncio.Event()
        self._asleep = asyncio.Event()

    async def __call__(self, seconds):
        self.wanted.append(seconds)
        self._asleep.set()
        await self._turn.wait()
        self._turn.clear()

    async def until_asleep(self):
        await self._asleep.wait()
        self._asleep.clear()

    async def wake(self):
        self._turn.set()
        await self.until_asleep()


def machine(remote):
    @contextlib.asynccontextmanager
    async def opened():
        yield remote

    return opened


def card(name, used, busy, machine="main"):
    return GpuUse(machine=machine, name=name, used_mib=used, memory_mib=81_559, busy=busy)


def test_the_drivers_table():
    h100 = "NVIDIA H100 80GB HBM3"
    assert read_cards("main", TWO) == [card(h100, 61_440, 0.97), card(h100, 12, None)]


@pytest.mark.parametrize(
    "text", ["", "sh: 1: nvidia-smi: not found\n", "No devices were found\n", "a, [N/A], 5, 6\n"]
)
def test_what_is_no_table_is_no_card(text):
    assert read_cards("main", text) == []


async def test_readings_follow_each_other_until_the_end():
    sleep, remote = Sleeper(), Remote("A, 1, 81559, 0\n", "A, 2, 81559, 50\n")
    async with Cards({"main": machine(remote)}, sleep=sleep) as cards:
        assert cards.all() == []
        await sleep.until_asleep()
        assert cards.all() == [card("A", 1, 0.0)]
        await sleep.wake()
        assert cards.all() == [card("A", 2, 0.5)]
    assert (remote.asked, sleep.wanted) == ([QUERY] * 2, [EVERY_S] * 2)


async def test_a_machine_that_is_lost_is_left_out_and_tried_again():
    sleep = Sleeper()
    remote = Remote("A, 1, 81559, 0\n", SshError("the link broke"), "A, 3, 81559, 0\n")
    async with Cards({"main": machine(remote)}, sleep=sleep) as cards:
        await sleep.until_asleep()
        await sleep.wake()
        assert cards.all() == []
        await sleep.wake()
        assert cards.all() == [card("A", 3, 0.0)]
    assert sleep.wanted == [EVERY_S, AGAIN_S, EVERY_S]
