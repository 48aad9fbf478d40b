"""The record of what is rented: one SQLite file, every commit on disk before it counts.

Blocking, about a millisecond a commit. Several processes may use it at once.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from uuid import uuid4

import msgspec
from msgspec import Struct

from llmctl.core.clock import Clock
from llmctl.core.errors import ConfigError, LlmctlError, NotFound
from llmctl.core.money import MicroUsd
from llmctl.core.rental import LABEL_PREFIX, Phase, ProviderName, Rental, UpSpec
from llmctl.core.sqlitefile import explain, open_database
from llmctl.state.intervals import Interval, interval_of
from llmctl.state.owners import Owner, this_process
from llmctl.state.schema import MIGRATIONS

log = logging.getLogger(__name__)

AVOID_S = 24 * 3600.0
"""How long a machine that failed is not taken again."""
_BUSY_S = 5.0
_COLUMNS = "uuid, begins, ends, usd_per_hour, kind, provider, instance_id"


class StateError(LlmctlError):
    """The record cannot be read or written; nothing is rented without it."""

    code = "state"


class Busy(LlmctlError):
    """Another process works on this name."""

    code = "busy"


class JournalEntry(Struct, frozen=True, kw_only=True):
    """One change of a rental."""

    at: float
    """Unix time."""
    phase: Phase
    detail: str


class RentalStore:
    """Rentals, their journal and prices, pinned host keys, machines to avoid, and who works now.

    The file is opened at first use. Every method raises ``StateError`` when it cannot be used.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        """Logins look up their pins in threads of their own."""

    @property
    def install_id(self) -> str:
        """Eight hex digits that tell this installation's machines from others', made once."""
        with self._transaction() as database:
            row = database.execute("SELECT id FROM installation").fetchone()
            if row is None:
                row = (token_hex(4),)
                database.execute("INSERT INTO installation VALUES (?)", row)
        return str(row[0])

    # -- rentals ---------------------------------------------------------------------------------

    def begin(self, spec: UpSpec, provider: ProviderName) -> Rental:
        """Write down the intent to rent; raises ``ConfigError`` when the name is in use."""
        uuid = uuid4().hex
        rental = Rental(
            uuid=uuid,
            name=spec.name,
            provider=provider,
            label=f"{LABEL_PREFIX}{self.install_id}/{uuid}",
            phase=Phase.INTENT,
            created_at=self._clock.now(),
            spec=spec,
        )
        with self._transaction() as database:
            try:
                database.execute(
                    "INSERT INTO rentals VALUES (?, ?, ?, NULL, ?, ?, ?)",
                    (uuid, spec.name, provider, rental.phase, rental.created_at, _packed(rental)),
                )
            except sqlite3.IntegrityError:
                raise ConfigError(
                    f"there is an instance called {spec.name!r} already",
                    hint=f"llmctl status, or llmctl down {spec.name}",
                ) from None
            self._note(database, rental, "")
        return rental

    def advance(
        self, uuid: str, phase: Phase, *, billed_from: float | None = None, **changes: object
    ) -> Rental:
        """Set the phase and other fields of a rental, and journal it; returns the new record.

        Fields are those of ``Rental``; ``detail`` also goes into the journal. ``billed_from`` is
        the Unix time since which it has had its price, if that is not now.
        """
        with self._transaction() as database:
            before = self._read(database, "uuid = ?", uuid)
            if before is None:
                raise NotFound(f"no rental {uuid} is on record")
            if phase is Phase.GONE:
                changes = {"ended_at": self._clock.now(), **changes}
            detail = str(changes.get("detail", ""))
            rental = msgspec.structs.replace(before, phase=phase, **{"detail": "", **changes})
            database.execute(
                "UPDATE rentals SET phase = ?, provider = ?, instance_id = ?, record = ? "
                "WHERE uuid = ?",
                (phase, rental.provider, rental.instance_id, _packed(rental), uuid),
            )
            self._note(database, rental, detail)
            self._price(database, rental, billed_from)
        return rental

    def get(self, uuid: str) -> Rental:
        """Return one rental, also one that is gone; raises ``NotFound``."""
        found = self._read(self._database(), "uuid = ?", uuid)
        if found is None:
            raise NotFound(f"no rental {uuid} is on record")
        return found

    def by_name(self, name: str) -> Rental | None:
        """Return the rental of that name that is not gone, if there is one."""
        return self._read(self._database(), "name = ? AND phase != 'gone'", name)

    def by_instance(self, provider: ProviderName, instance_id: str) -> Rental | None:
        """Return the latest rental that had this instance."""
        where = "provider = ? AND instance_id = ? ORDER BY created_at DESC"
        return self._read(self._database(), where, provider, instance_id)

    def live(self) -> list[Rental]:
        """Return what may exist, oldest first."""
        return [rental for rental in self.all() if rental.phase.live]

    def all(self) -> list[Rental]:
        """Return every rental on record, oldest first."""
        with self._explained():
            rows = self._database().execute("SELECT record FROM rentals ORDER BY created_at")
            return [_unpacked(row[0]) for row in rows]

    def journal(self, uuid: str) -> list[JournalEntry]:
        """Return what happened to a rental, oldest first."""
        with self._explained():
            rows = self._database().execute(
                "SELECT at, phase, detail FROM journal WHERE uuid = ? ORDER BY entry", (uuid,)
            )
            return [JournalEntry(at=at, phase=Phase(p), detail=text) for at, p, text in rows]

    def intervals(self, uuid: str) -> list[Interval]:
        """Return when it was billed at which price; the last one may be open."""
        with self._explained():
            rows = self._database().execute(
                "SELECT begins, ends, usd_per_hour, kind, provider, instance_id FROM intervals "
                "WHERE uuid = ? ORDER BY begins",
                (uuid,),
            )
            return [
                Interval(
                    begins=begins,
                    ends=ends,
                    usd_per_hour=None if price is None else MicroUsd(price),
                    kind=kind,
                    provider=provider,
                    instance_id=instance_id,
                )
                for begins, ends, price, kind, provider, instance_id in rows
            ]

    # -- host keys -------------------------------------------------------------------------------

    def pinned(self, instance: str, generation: str) -> str | None:
        """Return the host key that was pinned for an instance since it last started."""
        with self._explained():
            row = (
                self._database()
                .execute(
                    "SELECT key FROM host_keys WHERE instance = ? AND generation = ?",
                    (instance, generation),
                )
                .fetchone()
            )
        return None if row is None else str(row[0])

    def pin(self, instance: str, generation: str, key: str) -> None:
        """Remember a host key; it replaces the one before."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO host_keys VALUES (?, ?, ?, ?)",
                (instance, generation, key, self._clock.now()),
            )

    def unpin(self, instance: str) -> None:
        """Forget every host key of an instance."""
        with self._transaction() as database:
            database.execute("DELETE FROM host_keys WHERE instance = ?", (instance,))

    # -- machines that failed --------------------------------------------------------------------

    def avoid(self, provider: ProviderName, machine: str, reason: str) -> None:
        """Remember for a day that a machine failed."""
        if not machine:
            return
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO avoided VALUES (?, ?, ?, ?)",
                (provider, machine, reason, self._clock.now()),
            )

    def avoided(self, provider: ProviderName) -> dict[str, str]:
        """Return the machines not to take, each with the reason."""
        with self._explained():
            rows = self._database().execute(
                "SELECT machine, reason FROM avoided WHERE provider = ? AND at > ?",
                (provider, self._clock.now() - AVOID_S),
            )
            return dict(rows.fetchall())

    # -- who works -------------------------------------------------------------------------------

    @contextmanager
    def owned(self, name: str, *, strict: bool = True) -> Iterator[None]:
        """Keep other processes from working on a name; raises ``Busy`` while one does.

        A process that has died owns nothing, whatever the file says. Unless ``strict``, a full
        disk is no hindrance: what ends an instance must not wait for room.
        """
        me = this_process()
        try:
            self._claim(name, me)
        except StateError as failure:
            if strict:
                raise
            log.warning("%s", failure)
        try:
            yield
        finally:
            self._release(name, me)

    def worked_on(self, name: str) -> bool:
        """Whether another living process owns a name."""
        with self._explained():
            owner = _owner(self._database(), name)
        return owner is not None and owner != this_process() and owner.alive()

    def _claim(self, name: str, me: Owner) -> None:
        with self._transaction() as database:
            owner = _owner(database, name)
            if owner is not None and owner != me and owner.alive():
                raise Busy(
                    f"another llmctl (process {owner.pid} on {owner.host}) works on {name!r}",
                    hint="wait until it has ended, or end it",
                )
            database.execute(
                "INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?)",
                (name, me.host, me.pid, me.started, self._clock.now()),
            )

    def _release(self, name: str, me: Owner) -> None:
        try:
            with self._transaction() as database:
                database.execute(
                    "DELETE FROM owners WHERE name = ? AND pid = ? AND started = ?",
                    (name, me.pid, me.started),
                )
        except StateError as failure:
            # it ends with this process at the latest; what was done meanwhile is not undone by it
            log.warning("%s", failure)

    # -- the file --------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _database(self) -> sqlite3.Connection:
        with self._lock, self._explained():
            if self._connection is None:
                opened = open_database(self.path, MIGRATIONS, busy_timeout_s=_BUSY_S)
                # an id must survive a power cut: it is the only way to end what it names
                opened.execute("PRAGMA synchronous=FULL")
                self._connection = opened
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            database = self._database()
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:  # a full disk has already rolled it back
                    database.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as failure:
            raise StateError(
                f"the record of what is rented cannot be kept: {explain(self.path, failure)}",
                hint="nothing is rented until it can be written",
            ) from failure

    def _read(self, database: sqlite3.Connection, where: str, *values: str) -> Rental | None:
        with self._explained():
            query = f"SELECT record FROM rentals WHERE {where}"  # noqa: S608  words of this file
            row = database.execute(query, values).fetchone()
        return None if row is None else _unpacked(row[0])

    def _note(self, database: sqlite3.Connection, rental: Rental, detail: str) -> None:
        database.execute(
            "INSERT INTO journal (uuid, at, phase, detail) VALUES (?, ?, ?, ?)",
            (rental.uuid, self._clock.now(), rental.phase, detail),
        )

    def _price(
        self, database: sqlite3.Connection, rental: Rental, since: float | None = None
    ) -> None:
        """Close the open interval and begin the next where price or kind has changed."""
        now = self._clock.now() if since is None else min(since, self._clock.now())
        wanted = interval_of(rental, now)
        row = database.execute(
            "SELECT usd_per_hour, kind, instance_id FROM intervals WHERE uuid = ? AND ends IS NULL",
            (rental.uuid,),
        ).fetchone()
        if wanted is not None and row == (wanted.usd_per_hour, wanted.kind, wanted.instance_id):
            return
        database.execute(
            "UPDATE intervals SET ends = ? WHERE uuid = ? AND ends IS NULL", (now, rental.uuid)
        )
        if wanted is not None:
            database.execute(
                f"INSERT INTO intervals ({_COLUMNS}) VALUES (?, ?, NULL, ?, ?, ?, ?)",  # noqa: S608
                (
                    rental.uuid,
                    now,
                    wanted.usd_per_hour,
                    wanted.kind,
                    wanted.provider,
                    wanted.instance_id,
                ),
            )


def _owner(database: sqlite3.Connection, name: str) -> Owner | None:
    query = "SELECT host, pid, started FROM owners WHERE name = ?"
    row = database.execute(query, (name,)).fetchone()
    return None if row is None else Owner(host=row[0], pid=row[1], started=row[2])


def _packed(rental: Rental) -> bytes:
    return msgspec.json.encode(rental)


def _unpacked(record: bytes) -> Rental:
    try:
        return msgspec.json.decode(record, type=Rental)
    except msgspec.MsgspecError as failure:
        raise StateError(f"a rental on record cannot be read: {failure}") from failure
