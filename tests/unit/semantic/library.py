"""A journal in a list and entries to put there, for tests of the semantic cache without I/O."""

from collections.abc import Collection, Sequence
from concurrent.futures import Executor, Future

from llmctl.cache.sealed import Seal
from llmctl.semantic.journal import PAGE, JournalStatus
from llmctl.semantic.records import Entry, Outcome, Placed, Row
from tests.clocks import ManualClock

NOW = ManualClock().now()
SCOPE = b"s" * 32


def seal(letter: bytes = b"k") -> Seal:
    return Seal(letter * 32)


class ListJournal:
    """Keeps every row; two users of one instance are two proxies."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Placed]] = []
        self.closed = False

    async def start(self) -> None:
        pass

    def append(self, row: Row) -> None:
        place = str(len(self.rows) + 1)
        self.rows.append((row.kind, Placed(place, row.key, row.value)))

    async def read(self, kind: int, after: str) -> Sequence[Placed]:
        found = [placed for one, placed in self.rows if one == kind]
        return [placed for placed in found if int(placed.position) > int(after or 0)][:PAGE]

    async def indexed(self) -> Sequence[Placed]:
        return ()

    async def forget(self, keys: Collection[bytes]) -> int:
        before = len(self.rows)
        self.rows = [row for row in self.rows if row[1].key not in keys]
        return before - len(self.rows)

    async def clear(self) -> int:
        before, self.rows = len(self.rows), []
        return before

    def status(self) -> JournalStatus:
        return JournalStatus(kind="list", location="a test")

    async def close(self) -> None:
        self.closed = True


class AtOnce(Executor):
    """Runs work where it is submitted."""

    def submit(self, work, /, *arguments, **named):
        future: Future = Future()
        try:
            future.set_result(work(*arguments, **named))
        except Exception as failure:  # noqa: BLE001
            future.set_exception(failure)
        return future


def entry(number: int, **fields) -> Entry:
    from llmctl.semantic.index import packed, unit

    vector = fields.pop("vector", [1.0, number / 100, 0.0])
    wanted = {
        "key": number.to_bytes(32, "big"),
        "scope": SCOPE,
        "embedder": "e",
        "question": f"question {number}",
        "vector": packed(unit(vector)),
        "created": NOW,
        "expires": NOW + 3600,
        "tenant": "local",
        "model": "m",
    }
    return Entry(**(wanted | fields))


def outcome(**fields) -> Outcome:
    wanted = {
        "entry": b"\0" * 32,
        "kind": "e for local",
        "similarity": 0.97,
        "likeness": 0.95,
        "risk": 0.02,
        "servable": False,
        "same": True,
        "at": NOW,
        "expires": NOW + 3600,
    }
    return Outcome(**(wanted | fields))
