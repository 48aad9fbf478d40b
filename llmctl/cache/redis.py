"""Response cache in Redis or Valkey, shared by many proxies.

A request never waits longer for Redis than its budget, and not at all while the circuit breaker is
open. Reads that are asked for in the same turn of the loop travel as one MGET: at 64 clients a read
of 4 kB takes a fifth of the time of single GETs, one of 60 kB half (benchmarks/cache_store.py).
Importing this module imports redis-py, so it is imported only where Redis is configured.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import cast

from redis import exceptions as errors
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from llmctl.cache import keyspace
from llmctl.cache.address import RedisAddress
from llmctl.cache.breaker import Breaker
from llmctl.cache.budget import within
from llmctl.cache.keyspace import PREFIX, Room, name_of
from llmctl.cache.store import Stored, StoreStatus
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.tasks import Tasks
from llmctl.core.trouble import Trouble

log = logging.getLogger(__name__)

CLUSTER = (errors.MovedError, errors.ClusterDownError, errors.ClusterCrossSlotError)
PROBE = PREFIX + "probe"
"""A key that is never set: reading it asks for the same rights as reading answers."""
SOCKET_TIMEOUT_S = 0.25
MAX_CONNECTIONS = 16
READERS = 12
"""MGETs at once; the connections left over are for writes, probes and ``clear``."""
BATCH = 16
"""Keys in one MGET: bigger replies would hold the loop for milliseconds."""
WARM = 4
QUEUE = 256
START_WAIT_S = 0.05
CLOSE_WAIT_S = 2.0
LASTING = ("DENIED", "DB index", "unknown command")
"""How replies begin that stay the same until somebody changes the configuration."""
ROOM_S = 60.0
"""How often it is asked for its limits."""
IDLE_CHECK_S = 5.0
"""How often Redis is looked at while it works, so that ``status`` is true without traffic."""


class RedisStore:
    """A ``Store`` at ``address``; ``budget_s`` bounds what one read may add to a request."""

    def __init__(
        self,
        address: RedisAddress,
        *,
        clock: Clock,
        budget_s: float = 0.02,
        breaker: Breaker | None = None,
    ) -> None:
        self.breaker = breaker or Breaker()
        self._address = address
        self._budget_s = budget_s
        self._clock = clock
        self._client = _client(address, protocol=3)
        self._tasks = Tasks()
        # Before Python 3.12 asyncio.wait_for, which redis-py uses, may swallow a cancellation.
        self._closing = False
        self._waiting: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._flush_due = False
        self._in_flight = 0
        self._queue: deque[tuple[bytes, bytes, float]] = deque()
        self._queued = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._up = asyncio.Event()
        self._tripped = asyncio.Event()
        self._probed = asyncio.Event()
        self._reading = Trouble(log, f"Redis at {address.location}", clock=clock)
        self._writing = Trouble(log, f"writing to Redis at {address.location}", clock=clock)
        self._room: Room | None = None
        self._next_room = 0.0
        self._dropped_writes = 0
        self._failed_writes = 0
        self._failed_reads = 0

    async def start(self) -> None:
        """Connect in the background; waits 50 ms for it at most."""
        self._tasks.start(self._watch(), name="redis watch")
        self._tasks.start(self._write_queued(), name="redis writer")
        with suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                await self._probed.wait()

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, or None when absent, or when Redis does not say so in time."""
        if self._closing or not self.breaker.closed:
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting.append((name_of(key), answer))
        if not self._flush_due:
            self._flush_due = True
            loop.call_soon(self._flush)
        return await answer

    def put(self, key: bytes, value: bytes, *, ttl_s: float) -> None:
        """Queue a write; drops the oldest queued one when the queue is full."""
        if ttl_s <= 0:
            return
        if len(self._queue) >= QUEUE:
            self._queue.popleft()
            self._dropped_writes += 1
        self._queue.append((key, value, self._clock.monotonic() + ttl_s))
        self._drained.clear()
        self._queued.set()

    async def clear(self) -> int:
        """Remove every key with our prefix, of every proxy; raises LlmctlError if that fails."""
        self._queue.clear()
        with self._explained("the cache was not cleared"):
            return await keyspace.remove_all(self._client)

    async def scan(self, prefix: bytes = b"") -> AsyncIterator[Stored]:
        """Give every entry whose key begins so; raises LlmctlError."""
        with self._explained("the cache cannot be read"):
            async for stored in keyspace.scan(self._client, prefix):
                yield stored

    async def delete(self, keys: Sequence[bytes]) -> int:
        """Remove entries and return how many there were; raises LlmctlError."""
        with self._explained("nothing was removed"):
            return await keyspace.remove(self._client, keys)

    async def announce(self, news: bytes) -> None:
        """Let every proxy on this Redis know; raises LlmctlError."""
        with self._explained("other proxies were not told"):
            await self._client.set(keyspace.NEWS, news, ex=keyspace.NEWS_S)

    async def announced(self) -> bytes | None:
        """Return what was announced last; None where that is nothing, or Redis does not answer."""
        if self._closing or not self.breaker.closed:
            return None
        try:
            return (await self._mget([keyspace.NEWS]))[0]
        except Exception as failure:  # noqa: BLE001 - whatever a broken server makes the client raise
            self._read_failed(failure)
            return None

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (errors.RedisError, OSError) as failure:
            raise LlmctlError(f"{what}: {self._explain(failure)[0]}") from None

    def status(self) -> StoreStatus:
        """Describe the store as its last calls left it."""
        # before the first probe has ended there is no trouble yet, and no connection either
        unknown = f"Redis at {self._address.location} has not been reached yet"
        reading = "" if self.breaker.closed else self._reading.detail or unknown
        trouble = reading or self._writing.detail
        return StoreStatus(
            kind="redis",
            healthy=not trouble,
            detail=trouble,
            location=self._address.location,
            dropped_writes=self._dropped_writes,
            failed_writes=self._failed_writes,
            failed_reads=self._failed_reads,
            evicted=None if self._room is None else self._room.evicted,
            advice="" if self._room is None else self._room.advice,
            breaker=self.breaker.state.value,
        )

    async def close(self) -> None:
        """Write what is queued, within two seconds, and disconnect."""
        if self.breaker.closed:
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await self._drained.wait()
        self._closing = True
        self._dropped_writes += len(self._queue)
        await self._tasks.close()
        self._give_up_waiting()
        await self._client.aclose()

    # -- reads

    def _flush(self) -> None:
        self._flush_due = False
        while self._waiting and self._in_flight < READERS:
            batch = self._waiting[:BATCH]
            del self._waiting[:BATCH]
            self._in_flight += 1
            self._tasks.start(self._read(batch), name="redis read")

    async def _read(self, batch: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        values: Sequence[bytes | None] = ()
        try:
            values = await self._mget([name for name, _ in batch])
            self.breaker.succeeded()
        except Exception as failure:  # noqa: BLE001 - whatever a broken server makes the client raise
            self._failed_reads += len(batch)
            self._read_failed(failure)
        finally:
            self._in_flight -= 1
            # who has left meanwhile has cancelled its future
            for (_, answer), value in zip(batch, values or [None] * len(batch), strict=True):
                if not answer.done():
                    answer.set_result(value)
        if self._waiting:
            self._flush()

    async def _mget(self, names: list[str]) -> Sequence[bytes | None]:
        # bytes and not str, because the client was told not to decode
        values = cast("list[bytes | None]", await within(self._budget_s, self._client.mget(names)))
        if len(values) != len(names):
            raise errors.InvalidResponse(f"{len(values)} values for {len(names)} keys")
        return values

    def _read_failed(self, failure: Exception) -> None:
        reason, heals = self._explain(failure)
        if heals:
            self.breaker.failed(reason)
        else:
            self.breaker.refused(reason)
        if not self.breaker.closed:
            self._reading.begin(f"{reason}; requests go on without it")
            self._up.clear()
            self._tripped.set()
        # those behind it have waited a budget already
        self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_result(None)
        self._waiting.clear()

    # -- probes

    async def _watch(self) -> None:
        """Look at Redis every few seconds while it works, and more often while it does not."""
        while not self._closing:
            self._tripped.clear()
            await self._probe()
            self._probed.set()
            if not self.breaker.closed:
                await asyncio.sleep(self.breaker.probe_after_s)
                continue
            pause = self.breaker.probe_after_s if self.breaker.suspicious else IDLE_CHECK_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._tripped.wait()
                await asyncio.sleep(self.breaker.probe_after_s)

    async def _probe(self) -> None:
        try:
            if not self.breaker.closed:
                self.breaker.probing()
                await self._reconnect()
            await self._mget([PROBE])
        except Exception as failure:  # noqa: BLE001 - whatever a broken server makes the client raise
            self._read_failed(failure)
        else:
            self.breaker.probe_succeeded()
            self._reading.end()
            self._up.set()
            await self._look_around()

    async def _look_around(self) -> None:
        """Now and then ask what the server does when it is full; a user may not be allowed to."""
        if self._clock.monotonic() < self._next_room:
            return
        self._next_room = self._clock.monotonic() + ROOM_S
        self._probed.set()
        try:
            if self._room is None:
                await keyspace.sweep_earlier(self._client)
            self._room = await keyspace.room(self._client)
        except Exception as failure:  # noqa: BLE001 - whatever a broken server makes the client raise
            log.info("%s", self._explain(failure)[0])

    async def _reconnect(self) -> None:
        """Open a few connections anew: those from before the failure are dead or answer late."""
        await self._client.connection_pool.disconnect(inuse_connections=False)
        try:
            await self._warm()
        except errors.ResponseError as failure:
            if "HELLO" not in str(failure).upper():
                raise
            # Redis before 6.0 speaks the older protocol only
            await self._client.aclose()
            self._client = _client(self._address, protocol=2)
            await self._warm()

    async def _warm(self) -> None:
        probes = [self._client.mget([PROBE]) for _ in range(WARM)]
        for outcome in await asyncio.gather(*probes, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    # -- writes

    async def _write_queued(self) -> None:
        while not self._closing:
            await self._queued.wait()
            await self._up.wait()
            while self._queue and self.breaker.closed and not self._closing:
                await self._write(*self._queue.popleft())
            if not self._queue:
                self._queued.clear()
                self._drained.set()

    async def _write(self, key: bytes, value: bytes, expires: float) -> None:
        ttl_ms = round((expires - self._clock.monotonic()) * 1000)
        if ttl_ms <= 0:
            return
        try:
            await self._client.set(name_of(key), value, px=ttl_ms)
        except Exception as failure:  # noqa: BLE001 - whatever a broken server makes the client raise
            # reads have a breaker of their own: a full or read-only Redis still answers them, and
            # one that does not is told of there
            self._failed_writes += 1
            if self._writing.detail or await self._still_answers():
                self._writing.begin(f"nothing new is cached: {self._explain(failure)[0]}")
        else:
            self._writing.end()

    async def _still_answers(self) -> bool:
        """Tell whether reads work, with the breaker told as well."""
        if not self.breaker.closed:
            return False
        try:
            await self._mget([PROBE])
        except Exception as failure:  # noqa: BLE001 - whatever a broken server makes the client raise
            self._read_failed(failure)
            return False
        return True

    def _explain(self, failure: Exception) -> tuple[str, bool]:
        """Say what is wrong in one clause, and whether it may heal by itself."""
        place = f"Redis at {self._address.location}"
        text = self._address.redact(str(failure)).rstrip(". ") or type(failure).__name__
        if reason := self._misconfigured(failure, text):
            return f"{place} {reason}", False
        if type(failure) is TimeoutError:
            allowed = f"{self._budget_s * 1000:g} ms (redis.budget_s)"
            return f"{place} did not answer within {allowed}", True
        if isinstance(failure, errors.TimeoutError):
            return f"{place} did not answer within {SOCKET_TIMEOUT_S * 1000:g} ms", True
        return f"{place} cannot be used: {text}", True

    def _misconfigured(self, failure: Exception, text: str) -> str:
        """Say what is wrong with the configuration, Redis's or ours; empty for other failures."""
        if isinstance(failure, errors.AuthenticationError | errors.AuthorizationError):
            refused = f"refuses the password ({text})"
            asked = refused if self._address.has_password else "asks for a password"
            return f"{asked}; set REDIS_PASSWORD"
        if isinstance(failure, errors.NoPermissionError):
            return f"does not let this user do what a cache needs ({text}); see its ACL"
        if isinstance(failure, CLUSTER):
            return "is part of a cluster, which llmctl cannot use; it needs a single server"
        if _is_certificate_failure(failure):
            return f"shows a certificate that is not trusted ({text})"
        if text.startswith(LASTING):
            return f"cannot be used as it is set up ({text})"
        return ""


def _name(key: bytes) -> str:
    return PREFIX + key.hex()


def _client(address: RedisAddress, *, protocol: int) -> Redis:
    """Make a client that fails at once: retries would multiply what a dead server costs."""
    pool = ConnectionPool(
        max_connections=MAX_CONNECTIONS,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        protocol=protocol,
        decode_responses=False,
        # saves a round trip per connection
        driver_info=None,
        # switched on, it would also switch off the check for stray replies on pooled connections
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **address.options(),
    )
    return Redis.from_pool(pool)


def _is_certificate_failure(failure: BaseException | None) -> bool:
    # redis-py raises its own exception while it handles the one of ssl
    while failure is not None:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return True
        failure = failure.__cause__ or failure.__context__
    return False
