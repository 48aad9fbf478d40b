"""Ctrl-C for commands that hold paid machines: the first cleans up, the second leaves at once."""

import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from llmctl.core.errors import LlmctlError

T = TypeVar("T")

_CLEAN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(
    work: Coroutine[Any, Any, T], *, leftover: "Callable[[], LlmctlError]", quiet: bool = False
) -> T:
    """Run ``work`` to its end and return what it returns; ``quiet`` says nothing on Ctrl-C.

    The first SIGINT, SIGTERM or SIGHUP cancels it, and it may take its time to clean up. A second
    SIGINT prints ``leftover()`` and ends the process with its exit code; nothing is cleaned up.
    """
    import asyncio

    return asyncio.run(_run(work, leftover, quiet=quiet))


async def _run(
    work: Coroutine[Any, Any, T], leftover: "Callable[[], LlmctlError]", *, quiet: bool
) -> T:
    import asyncio

    from llmctl.core.errors import Cancelled

    task = asyncio.current_task()
    told = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal told
        if not told and task is not None:
            told = True
            if not quiet:
                sys.stderr.write("\nstopping (Ctrl-C again leaves at once)\n")
            task.cancel()
        elif number is signal.SIGINT:
            _leave(leftover())

    loop = asyncio.get_running_loop()
    for number in _CLEAN:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await work
    except asyncio.CancelledError:
        raise Cancelled("interrupted") from None
    finally:
        for number in _CLEAN:
            loop.remove_signal_handler(number)


def _leave(error: "LlmctlError") -> None:
    from llmctl.render.errors import error_text

    sys.stderr.write(error_text(error))
    sys.stderr.flush()
    os._exit(error.exit_code)
