"""What blocks, kept out of the loop: a login in a thread of its own, and a knock before it."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from llmctl.core.errors import SshError
from llmctl.core.rental import SshAddress
from llmctl.ssh.sockets import reason

KNOCK_S = 2.0
"""The kernel asks again after 1 s: knocks of 2 s make one try a second, however long it takes."""

T = TypeVar("T")


async def in_thread(work: Callable[[], T], *, undo: Callable[[T], None]) -> T:
    """Run ``work`` in a daemon thread; ``undo`` gets a result that nobody waits for any more.

    Not in the loop's executor: the process would wait for a login to a dead host before it ends.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except Exception as failure:  # noqa: BLE001  raised again where it is awaited
            _post(loop, _fail, future, failure)
        else:
            if not _post(loop, _succeed, future, result, undo):
                undo(result)

    threading.Thread(target=run, name="ssh-login", daemon=True).start()
    return await future


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> bool:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:  # the loop is closed
        return False
    return True


def _succeed(future: asyncio.Future[T], result: T, undo: Callable[[T], None]) -> None:
    if future.done():
        threading.Thread(target=undo, args=(result,), name="ssh-hang-up", daemon=True).start()
    else:
        future.set_result(result)


def _fail(future: asyncio.Future[T], failure: Exception) -> None:
    if not future.done():
        future.set_exception(failure)


async def knock(addresses: Sequence[SshAddress]) -> None:
    """Return when one of them takes a TCP connection; raises ``SshError`` when none does."""
    tries = [asyncio.ensure_future(_knock(each)) for each in addresses]  # noqa: TID251  awaited here
    reasons: list[str] = []
    try:
        for answer in asyncio.as_completed(tries):
            try:
                await answer
            except SshError as error:
                reasons.append(error.message)
            else:
                return
    finally:
        for each in tries:
            each.cancel()
        await asyncio.gather(*tries, return_exceptions=True)
    raise SshError("; ".join(reasons) or "the machine has no address")


async def _knock(address: SshAddress) -> None:
    try:
        async with asyncio.timeout(KNOCK_S):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except TimeoutError:
        raise SshError(f"{address} does not answer") from None
    except OSError as error:
        raise SshError(f"cannot reach {address}: {reason(error)}") from error
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
