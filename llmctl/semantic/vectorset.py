"""Questions found by likeness in Redis itself, where it has vector sets (Redis 8).

One index for all proxies, of any size, at the price of a round trip in the way of a request, and of
vectors that lie there in the clear: Redis must compute with them. Only used where the operator asks
for it; docs/adr/0009 says what that gives away. Questions are sealed all the same.
"""

import logging
from collections import Counter
from hashlib import blake2b
from typing import Any

from redis import exceptions as errors

from llmctl.core.clock import Clock
from llmctl.core.tasks import Tasks
from llmctl.core.trouble import Trouble
from llmctl.semantic.index import Vector
from llmctl.semantic.journal import Address
from llmctl.semantic.records import Entry, Placed, Seal, entry_row, read_entry
from llmctl.semantic.redis import INDEXED, PREFIX, VECTORS, connect
from llmctl.semantic.shelves import Candidate, Known, group_of

log = logging.getLogger(__name__)

MAX_WRITES = 64
"""Additions at once; more are dropped and counted."""


async def has_vector_sets(address: Address) -> bool:
    """Ask whether Redis has vector sets; False where it does not answer."""
    client = connect(address)
    try:
        found = await client.execute_command("COMMAND INFO", "VADD")  # type: ignore[no-untyped-call]
    except (errors.RedisError, OSError) as failure:
        log.warning("cannot ask Redis for vector sets: %s", address.redact(str(failure)))
        return False
    finally:
        await client.aclose()
    return bool(found and found[0])


class RedisShelves:
    """``Shelves`` in vector sets, one for each group, of ``max_entries`` each."""

    def __init__(
        self,
        address: Address,
        seal: Seal,
        *,
        house: str,
        max_entries: int,
        clock: Clock,
        counts: Counter[str],
    ) -> None:
        self._prefix = f"{PREFIX}{house}:"
        self._seal = seal
        self._max_entries = max_entries
        self._clock = clock
        self._counts = counts
        self._client = connect(address)
        self._address = address
        self._tasks = Tasks()
        self._writing = 0
        self._trouble = Trouble(log, f"the vector sets in Redis at {address.location}", clock=clock)
        self._added = 0

    def __len__(self) -> int:
        return self._added

    async def nearest(self, group: bytes, vector: Vector, count: int) -> list[Candidate]:
        """Return up to ``count`` questions of a group that have not expired, nearest first."""
        name = self._set_of(group)
        try:
            # without a width of its own Redis searches as widely as it has to return
            found: Any = await self._client.vset().vsim(
                name, vector.tobytes(), with_scores=True, count=count, ef=200
            )
            members: list[bytes] = list(found or ())
            if not members:
                return []
            values: list[Any] = await self._client.mget([self._entry(key) for key in members])
        except (errors.RedisError, OSError) as failure:
            self._failed(failure)
            return []
        self._trouble.end()
        near = [self._candidate(*one) for one in zip(members, found.values(), values, strict=True)]
        gone = [key for key, known in zip(members, near, strict=True) if known is None]
        if gone:
            self._start(self._remove(name, gone))
        return [one for one in near if one is not None]

    def add(self, entry: Entry, vector: Vector) -> None:
        """Keep a question for every proxy."""
        self._added += 1
        self._start(self._add(entry, vector))

    def used(self, key: bytes) -> None:
        """Nothing: Redis drops members of a full set at random."""

    def drop(self, key: bytes) -> None:
        """Forget a question; its vector goes when it is next found without one."""
        self._start(self._unlink(key))

    async def follow(self) -> None:
        """Nothing: what others add is there."""

    async def close(self) -> None:
        """Write what is being written, and disconnect."""
        await self._tasks.idle()
        await self._client.aclose()

    def _candidate(self, member: bytes, score: float, value: bytes | None) -> Candidate | None:
        if value is None:
            return None
        key = bytes.fromhex(member.decode())
        entry = read_entry(Placed("", key, value), self._seal)
        if entry is None:
            self._counts["damaged"] += 1
            return None
        if entry.expires <= self._clock.now():
            return None
        # Redis gives (1 + cosine) / 2
        return Candidate(Known(entry), 2 * float(score) - 1)

    async def _add(self, entry: Entry, vector: Vector) -> None:
        row = entry_row(entry, self._seal)
        left_ms = round((entry.expires - self._clock.now()) * 1000)
        if left_ms <= 0:
            return
        name, member = self._set_of(group_of(entry.embedder, entry.scope)), entry.key.hex()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(self._entry(member.encode()), row.value, px=left_ms)
        pipeline.execute_command("VADD", name, "FP32", vector.tobytes(), member, "NOQUANT")
        pipeline.pexpire(name, left_ms)
        pipeline.execute_command("VCARD", name)
        *_, size = await pipeline.execute()
        if size > self._max_entries:
            await self._remove(name, [await self._any_of(name)])

    async def _any_of(self, name: str) -> bytes:
        # without decoding, what redis-py calls text is bytes
        member: Any = await self._client.vset().vrandmember(name)
        return bytes(member)

    async def _remove(self, name: str, members: list[bytes]) -> None:
        for member in members:
            await self._client.vset().vrem(name, member.decode())

    async def _unlink(self, key: bytes) -> None:
        await self._client.unlink(self._entry(key.hex().encode()))

    def _start(self, work: Any) -> None:
        if self._writing >= MAX_WRITES:
            work.close()
            self._counts["dropped"] += 1
            return
        self._writing += 1
        self._tasks.start(self._guarded(work), name="semantic vector set")

    async def _guarded(self, work: Any) -> None:
        try:
            await work
        except (errors.RedisError, OSError) as failure:
            self._failed(failure)
        finally:
            self._writing -= 1

    def _failed(self, failure: Exception) -> None:
        said = self._address.redact(str(failure)).rstrip(". ") or type(failure).__name__
        self._trouble.begin(
            f"the semantic cache finds nothing: Redis at {self._address.location}: {said}"
        )

    def _set_of(self, group: bytes) -> str:
        return f"{self._prefix}{VECTORS}:{blake2b(group, digest_size=16).hexdigest()}"

    def _entry(self, member: bytes) -> str:
        return f"{self._prefix}{INDEXED}:{member.decode()}"
