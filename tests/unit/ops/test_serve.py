"""How serving waits for what comes first, and what it says of an address it cannot have."""

import asyncio
import errno
import os
import socket

import pytest

from llmctl.ops.serve import _refusal, _unless

NEVER = 3600.0


async def test_work_that_ends_by_itself():
    done = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append(True)

    await _unless(asyncio.Event(), work())
    assert done == [True]
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("early", [True, False])
async def test_work_is_given_up_when_the_signal_comes(early):
    signalled, cancelled = asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.sleep(NEVER)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    if early:
        signalled.set()
    else:
        asyncio.get_running_loop().call_soon(signalled.set)
    await _unless(signalled, work())
    assert cancelled == [True]
    assert len(asyncio.all_tasks()) == 1


async def test_work_is_given_up_when_its_time_is_over():
    await _unless(asyncio.Event(), asyncio.sleep(NEVER), within_s=0.0)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize("failure", [OSError("no space"), TimeoutError("its own")])
async def test_a_failure_of_the_work_is_not_hidden(failure):
    async def work() -> None:
        raise failure

    with pytest.raises(type(failure), match=str(failure)):
        await _unless(asyncio.Event(), work(), within_s=NEVER)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("failure", "reason", "hint"),
    [
        # asyncio puts the address and more into strerror
        (OSError(errno.EADDRINUSE, "error while attempting…"), "already in use", "--port 8001"),
        (PermissionError(errno.EACCES, "error while…"), "permission denied", "--port 8832"),
        (OSError(errno.EADDRNOTAVAIL, "error while…"), "assign", "--listen 127.0.0.1"),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known", "--listen"),
    ],
)
def test_an_address_that_cannot_be_had_is_explained(failure, reason, hint):
    error = _refusal(failure, "host", 8000)
    assert error.message.startswith("cannot listen on host:8000: ")
    assert reason in error.message
    assert "error while" not in error.message
    assert hint in error.hint
    assert os.linesep not in error.message


def test_what_is_advised_keeps_the_instances_that_were_named():
    error = _refusal(OSError(errno.EADDRINUSE, "in use"), "127.0.0.1", 8000, ["main", "second"])
    assert error.hint == "llmctl serve main second --port 8001"
