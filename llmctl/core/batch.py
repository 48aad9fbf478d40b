"""One thread that writes what others append, everything waiting at once.

For databases whose cost is the transaction and not the row. Appending never blocks and never fails.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


class BatchThread(Generic[T]):
    """A bounded queue with one writing thread behind it.

    ``write`` gets up to ``batch`` items in order and says whether they are done with; if not they
    go back to the front and are tried again after ``retry_s``. The oldest item goes when ``limit``
    is reached. ``linger_s`` is how long the thread waits for company after the first item.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[T]], bool],
        *,
        limit: int,
        batch: int,
        linger_s: float = 0.0,
        retry_s: float = 1.0,
    ) -> None:
        self.dropped = 0
        self._write = write
        self._limit = limit
        self._batch = batch
        self._linger_s = linger_s
        self._retry_s = retry_s
        self._items: deque[T] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        # daemon: a write that hangs in the kernel must not keep the process alive
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to write; what was appended before is kept until then."""
        self._thread.start()

    def append(self, item: T) -> None:
        """Queue an item; any thread may call it."""
        items = self._items
        if len(items) >= self._limit:
            self._drop_oldest()
        items.append(item)
        if not self._wake.is_set():
            self._wake.set()

    def waiting(self) -> int:
        """Return how many items are queued."""
        return len(self._items)

    def call(self, job: Callable[[], R]) -> "Future[R]":
        """Run ``job`` in the thread, after one attempt to write all that was appended before.

        The future fails with RuntimeError when the thread has been closed.
        """
        future: Future[R] = Future()
        if self._closing:
            future.set_exception(RuntimeError(f"{self._thread.name} is closed"))
            return future
        self._jobs.append((job, future))
        self._hurry.set()
        self._wake.set()
        return future

    def close(self, timeout_s: float) -> bool:
        """Write what is left and end the thread; blocks. False when it did not end in time."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _drop_oldest(self) -> None:
        # the thread may have taken the last one in the meantime
        with suppress(IndexError):
            self._items.popleft()
            self.dropped += 1

    def _run(self) -> None:
        pause_s = self._linger_s
        while not self._closing:
            self._wake.wait()
            if pause_s:
                self._hurry.wait(pause_s)
            # cleared before the queues are read: whoever appends later wakes us again
            self._wake.clear()
            self._hurry.clear()
            written = self._drain()
            while self._jobs:
                # again: items may have been appended, and the job after them, a moment ago
                written = self._run_job()
            pause_s = self._linger_s if written else self._retry_s
        while self._jobs:
            self._run_job()
        self._drain()
        self.dropped += len(self._items)
        self._items.clear()

    def _drain(self) -> bool:
        while batch := self._take():
            if not self._written(batch):
                self._items.extendleft(reversed(batch))
                self._wake.set()
                return False
        return True

    def _take(self) -> list[T]:
        batch: list[T] = []
        with suppress(IndexError):
            while len(batch) < self._batch:
                batch.append(self._items.popleft())
        return batch

    def _written(self, batch: list[T]) -> bool:
        try:
            return self._write(batch)
        except Exception:
            # a bug, not a full disk: the thread must outlive it
            log.exception("%s lost %d writes", self._thread.name, len(batch))
            self.dropped += len(batch)
            return True

    def _run_job(self) -> bool:
        job, future = self._jobs.popleft()
        written = self._drain()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(job())
            except Exception as failure:  # noqa: BLE001 - handed to whoever asked
                future.set_exception(failure)
        return written
