"""The record of what is rented, on a real file."""

import multiprocessing
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from llmctl.core.errors import ConfigError, NotFound
from llmctl.core.rental import Phase, ProviderName, SshAddress, UpSpec
from llmctl.core.sqlitefile import open_database
from llmctl.state.owners import Owner, this_process
from llmctl.state.schema import MIGRATIONS
from llmctl.state.store import AVOID_S, Busy, RentalStore, StateError
from tests.emulators.market import ManualClock

VAST = ProviderName.VAST


def spec(name="main", **changes):
    return UpSpec(name=name, providers=(VAST,), **changes)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "rentals.db"


@pytest.fixture
def store(path, clock):
    made = RentalStore(path, clock=clock)
    yield made
    made.close()


def test_the_label_names_installation_and_rental(store, path, clock):
    rental = store.begin(spec(), VAST)
    again = RentalStore(path, clock=clock)
    assert rental.label == f"llmctl/{store.install_id}/{rental.uuid}"
    assert again.install_id == store.install_id
    assert len(store.install_id) == 8
    again.close()


def test_the_file_is_private_and_every_commit_is_on_disk(store, path):
    store.begin(spec(), VAST)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert store._database().execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_rental_is_found_by_name_and_instance_until_it_is_gone(store, clock):
    rental = store.begin(spec(), VAST)
    assert store.live() == []
    store.advance(rental.uuid, Phase.CREATING)
    changed = store.advance(
        rental.uuid,
        Phase.CREATED,
        instance_id="42",
        addresses=(SshAddress(host="192.0.2.1", port=40022),),
        detail="offer 7",
    )
    assert store.by_name("main") == changed == store.get(rental.uuid)
    assert store.by_instance(VAST, "42") == changed
    assert store.live() == [changed]
    clock.advance(60)
    gone = store.advance(rental.uuid, Phase.GONE)
    assert store.by_name("main") is None
    assert store.live() == []
    assert gone.ended_at == clock.now()
    assert [(entry.phase, entry.detail) for entry in store.journal(rental.uuid)] == [
        ("intent", ""),
        ("creating", ""),
        ("created", "offer 7"),
        ("gone", ""),
    ]


def test_a_name_is_one_machine_until_it_is_gone(store):
    first = store.begin(spec(), VAST)
    with pytest.raises(ConfigError, match="there is an instance called 'main' already"):
        store.begin(spec(), VAST)
    store.begin(spec("other"), VAST)
    store.advance(first.uuid, Phase.GONE)
    assert store.begin(spec(), VAST).uuid != first.uuid


def test_what_is_not_on_record_is_said(store):
    with pytest.raises(NotFound, match="no rental abc"):
        store.get("abc")
    with pytest.raises(NotFound, match="no rental abc"):
        store.advance("abc", Phase.GONE)


def test_prices_are_kept_as_intervals(store, clock):
    rental = store.begin(spec(), VAST)
    start = clock.now()
    price = {"usd_per_hour": 400_000, "stopped_usd_per_hour": 20_000}
    store.advance(rental.uuid, Phase.CREATING)
    store.advance(rental.uuid, Phase.CREATED, instance_id="1", **price)
    clock.advance(100)
    store.advance(rental.uuid, Phase.READY)
    clock.advance(100)
    store.advance(rental.uuid, Phase.STOPPED)
    clock.advance(100)
    store.advance(rental.uuid, Phase.GONE)
    found = [
        (each.begins - start, each.ends - start, each.usd_per_hour, each.kind)
        for each in store.intervals(rental.uuid)
    ]
    assert found == [(0, 200, 400_000, "running"), (200, 300, 20_000, "stopped")]


def test_intervals_name_the_instance_they_are_of(store, clock):
    rental = store.begin(spec(), VAST)
    price = {"usd_per_hour": 400_000}
    store.advance(rental.uuid, Phase.CREATED, instance_id="1", **price)
    clock.advance(100)
    # found under another id, at the same price: another line of the bill
    store.advance(rental.uuid, Phase.CREATED, instance_id="2", **price)
    found = [(each.provider, each.instance_id, each.ends) for each in store.intervals(rental.uuid)]
    assert found == [("vast", "1", clock.now()), ("vast", "2", None)]


def test_a_record_of_0_2_is_kept_and_read(path, clock):
    path.parent.mkdir(mode=0o700)
    open_database(path, MIGRATIONS[:1]).close()
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("INSERT INTO rentals VALUES ('u', 'main', 'vast', '7', 'gone', 1.0, x'7B7D')")
        old.execute("INSERT INTO intervals VALUES ('u', 1.0, 9.0, 400000, 'running')")
    store = RentalStore(path, clock=clock)
    (interval,) = store.intervals("u")
    assert (interval.begins, interval.ends, interval.usd_per_hour) == (1.0, 9.0, 400_000)
    assert (interval.provider, interval.instance_id) == (None, None)
    store.close()


def test_machines_that_failed_are_avoided_for_a_day(store, clock):
    store.avoid(VAST, "m1", "no SSH")
    store.avoid(VAST, "", "unknown machine")
    assert store.avoided(VAST) == {"m1": "no SSH"}
    assert store.avoided(ProviderName.RUNPOD) == {}
    clock.advance(AVOID_S)
    assert store.avoided(VAST) == {}


def test_host_keys_belong_to_one_generation(store):
    store.pin("a", "1", "ssh-ed25519 AAAA")
    store.pin("a", "2", "ssh-ed25519 BBBB")
    assert store.pinned("a", "1") == "ssh-ed25519 AAAA"
    assert store.pinned("b", "1") is None
    store.unpin("a")
    assert store.pinned("a", "2") is None


HOLD = """
import sys
from pathlib import Path
from llmctl.core.clock import SystemClock
from llmctl.state.store import RentalStore
with RentalStore(Path(sys.argv[1]), clock=SystemClock()).owned("main"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_living_process_keeps_others_out_and_a_dead_one_does_not(store, path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(Busy, match=rf"process {other.pid} on .* works on 'main'"):
            with store.owned("main"):
                pass
        with store.owned("another"):
            pass
        other.kill()
        other.wait()
    with store.owned("main"):
        pass


def test_a_reused_process_id_is_not_the_owner():
    me = this_process()
    assert me.alive()
    assert not Owner(host=me.host, pid=me.pid, started="1").alive()
    assert Owner(host="elsewhere", pid=1, started="1").alive()


def _begin(path, number, results):
    store = RentalStore(path, clock=ManualClock())
    try:
        results.put((store.install_id, store.begin(spec(f"n{number % 4}"), VAST).uuid))
    except ConfigError:
        results.put((store.install_id, None))


def test_processes_at_once_make_one_installation_and_one_rental_a_name(path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_begin, args=(path, n, results)) for n in range(8)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert len({install for install, _ in found}) == 1
    assert sum(uuid is not None for _, uuid in found) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_said(tmp_path, clock):
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="cannot be kept"):
        RentalStore(tmp_path / "s" / "rentals.db", clock=clock).begin(spec(), VAST)


def test_a_full_disk_is_said_and_loses_nothing(store):
    rental = store.begin(spec(), VAST)
    database = store._database()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StateError, match="no space is left"):
        for number in range(2000):
            store.begin(spec(f"n{number}"), VAST)
    database.execute("PRAGMA max_page_count=1000000")
    assert store.get(rental.uuid) == rental
    assert store.advance(rental.uuid, Phase.GONE).phase is Phase.GONE


def test_a_damaged_file_is_said(path, clock):
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match="is damaged"):
        RentalStore(path, clock=clock).live()


def test_a_record_of_an_unknown_shape_is_not_taken_for_nothing(store, path):
    rental = store.begin(spec(), VAST)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE rentals SET record = '{}' WHERE uuid = ?", (rental.uuid,))
    with pytest.raises(StateError, match="cannot be read"):
        store.all()
