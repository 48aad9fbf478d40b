"""The journal in Redis or Valkey 5 and later: one stream for each kind of row.

Nothing in here is on the way of a request. A stream keeps its newest rows, loses those past their
time every minute, and goes as a whole when no proxy has added to it for as long as rows live.
Importing this module imports redis-py.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

from redis import exceptions as errors
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.tasks import Tasks
from llmctl.core.trouble import Trouble
from llmctl.semantic.journal import PAGE, START, Address, JournalStatus, Limits
from llmctl.semantic.records import ENTRY, OUTCOME, Placed, Row

log = logging.getLogger(__name__)

PREFIX = "llmctl:semantic:v1:"
NAMES = {ENTRY: "entries", OUTCOME: "outcomes"}
INDEXED, VECTORS = "entry", "set"
"""Parts of the names of what ``semantic.vectorset`` keeps."""
TIMEOUT_S = 2.0
MAX_CONNECTIONS = 4
QUEUE = 512
WRITES = 64
"""Rows in one pipeline."""
TRIM_S = 60.0
RETRY_S = 1.0
CLOSE_WAIT_S = 2.0
KEY, VALUE = b"k", b"v"


def connect(address: Address) -> Redis:
    """Make a client that neither retries nor decodes."""
    pool = ConnectionPool(
        max_connections=MAX_CONNECTIONS,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        protocol=2,
        driver_info=None,
        **address.options(),
    )
    return Redis.from_pool(pool)


class RedisJournal:
    """A ``Journal`` at ``address``, shared by every proxy of one ``house``.

    ``house`` is a name for those that can open each other's rows, safe to show.
    """

    def __init__(self, address: Address, limits: Limits, *, house: str, clock: Clock) -> None:
        self._address = address
        self._limits = limits
        self._prefix = f"{PREFIX}{house}:"
        self._streams = {kind: f"{self._prefix}{name}" for kind, name in NAMES.items()}
        self._clock = clock
        self._client = connect(address)
        self._tasks = Tasks()
        self._queue: deque[Row] = deque()
        self._queued = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._closing = False
        self._trouble = Trouble(
            log, f"the semantic cache in Redis at {address.location}", clock=clock
        )
        self._lifetimes: dict[int, float] = {}
        self._next_trim = float("-inf")
        self._failed_writes = 0
        self._dropped_writes = 0

    async def start(self) -> None:
        """Begin to write in the background."""
        self._tasks.start(self._write_queued(), name="semantic redis writer")

    def append(self, row: Row) -> None:
        """Queue a row; drops the oldest queued one when the queue is full."""
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self._dropped_writes += 1
        self._queue.append(row)
        self._drained.clear()
        self._queued.set()

    async def read(self, kind: int, after: str) -> Sequence[Placed]:
        """Return up to ``PAGE`` rows behind a position; none where they cannot be read now."""
        try:
            found = await self._page(self._streams[kind], after)
        except (errors.RedisError, OSError) as failure:
            self._failed(failure)
            return ()
        self._trouble.end()
        return found

    async def indexed(self) -> Sequence[Placed]:
        """Return the entries whose vectors Redis itself searches; none where it cannot be read."""
        found = []
        try:
            for names in _some(await self._names(INDEXED)):
                values: Any = await self._client.mget(names)
                keys = [bytes.fromhex(name.rpartition(b":")[2].decode()) for name in names]
                found += [Placed(START, *one) for one in zip(keys, values, strict=True) if one[1]]
        except (errors.RedisError, OSError) as failure:
            self._failed(failure)
        return found

    async def forget(self, keys: Collection[bytes]) -> int:
        """Remove the entries with these keys; raises LlmctlError where that is impossible."""
        stream, after, wanted = self._streams[ENTRY], START, frozenset(keys)
        try:
            removed = await self._forget_indexed(wanted)
            while page := await self._page(stream, after):
                after = page[-1].position
                found = [placed.position for placed in page if placed.key in wanted]
                removed += await self._client.xdel(stream, *found) if found else 0
        except (errors.RedisError, OSError) as failure:
            raise self._unchanged(failure) from None
        return removed

    async def clear(self) -> int:
        """Remove every row, of every proxy; raises LlmctlError where that is impossible."""
        self._queue.clear()
        streams = list(self._streams.values())
        try:
            entries, sets = await self._names(INDEXED), await self._names(VECTORS)
            removed = sum([await self._client.xlen(name) for name in streams]) + len(entries)
            for names in _some([*streams, *entries, *sets]):
                await self._client.unlink(*names)
        except (errors.RedisError, OSError) as failure:
            raise self._unchanged(failure) from None
        return removed

    async def _names(self, part: str) -> list[Any]:
        """Return the names of what the vector sets of this house have left in Redis."""
        found = self._client.scan_iter(match=f"{self._prefix}{part}:*", count=1000)
        return [name async for name in found]

    async def _forget_indexed(self, keys: frozenset[bytes]) -> int:
        """Remove entries and their vectors from the vector sets; returns how many there were."""
        sets = await self._names(VECTORS)
        if not sets:
            return 0
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            for name in sets:
                pipeline.execute_command("VREM", name, key.hex())
            pipeline.unlink(f"{self._prefix}{INDEXED}:{key.hex()}")
        answers = await pipeline.execute()
        return sum(answers[len(sets) :: len(sets) + 1])

    def _unchanged(self, failure: Exception) -> LlmctlError:
        return LlmctlError(f"the semantic cache was not changed: {self._said(failure)}")

    def status(self) -> JournalStatus:
        """Describe it as its last call left it."""
        return JournalStatus(
            kind="redis",
            location=self._address.location,
            detail=self._trouble.detail,
            failed_writes=self._failed_writes,
            dropped_writes=self._dropped_writes,
        )

    async def close(self) -> None:
        """Write what is queued, within two seconds, and disconnect."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WAIT_S):
                await self._drained.wait()
        self._closing = True
        await self._tasks.close()
        await self._client.aclose()

    async def _page(self, stream: str, after: str) -> list[Placed]:
        begin = "-" if after == START else f"({after}"
        # without decoding, what redis-py calls text is bytes
        found: Any = await self._client.xrange(stream, min=begin, max="+", count=PAGE)
        return [
            Placed(place.decode(), fields.get(KEY, b""), fields.get(VALUE, b""))
            for place, fields in found
        ]

    async def _write_queued(self) -> None:
        while not self._closing:
            await self._queued.wait()
            rows = [self._queue.popleft() for _ in range(min(WRITES, len(self._queue)))]
            if not rows:
                self._queued.clear()
                self._drained.set()
                continue
            try:
                await self._add(rows)
            except (errors.RedisError, OSError) as failure:
                self._failed_writes += len(rows)
                self._failed(failure)
                await asyncio.sleep(RETRY_S)
            else:
                self._trouble.end()

    async def _add(self, rows: list[Row]) -> None:
        now = self._clock.now()
        pipeline = self._client.pipeline(transaction=False)
        for row in rows:
            fields: dict[Any, Any] = {KEY: row.key, VALUE: row.value}
            most = self._limits[row.kind]
            pipeline.xadd(self._streams[row.kind], fields, maxlen=most, approximate=True)
            left_s = self._lifetimes[row.kind] = row.expires - now
            pipeline.pexpire(self._streams[row.kind], max(1, round(left_s * 1000)))
        await pipeline.execute()
        if self._clock.monotonic() >= self._next_trim:
            self._next_trim = self._clock.monotonic() + TRIM_S
            await self._trim()

    async def _trim(self) -> None:
        """Remove what is older than rows live; positions begin with the server's milliseconds."""
        seconds, _ = await self._client.time()
        for kind, lifetime_s in self._lifetimes.items():
            oldest = max(0, round((seconds - lifetime_s) * 1000))
            await self._client.xtrim(self._streams[kind], minid=oldest)

    def _failed(self, failure: Exception) -> None:
        self._trouble.begin(f"the semantic cache learns nothing new: {self._said(failure)}")

    def _said(self, failure: Exception) -> str:
        text = self._address.redact(str(failure)).rstrip(". ") or type(failure).__name__
        return f"Redis at {self._address.location} cannot be used: {text}"


def _some(names: list[Any]) -> Iterator[list[Any]]:
    """Yield ``names`` in lists that one call may take."""
    return (names[at : at + WRITES] for at in range(0, len(names), WRITES))
