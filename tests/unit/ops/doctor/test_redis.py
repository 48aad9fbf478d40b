import pytest
from msgspec.structs import replace

from llmctl.cache.keyspace import Room
from llmctl.cache.redis_facts import RedisFacts
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor.redis import judged

PLACE = "redis://cache.example.com:6379/0"
WELL = RedisFacts(
    software="Valkey",
    version="9.1.2",
    tls=False,
    cluster=False,
    replica=False,
    used_bytes=40_000_000,
    room=Room(max_bytes=1_000_000_000, policy="volatile-lru", evicted=0),
    modules=["search"],
    ping_ms=0.4,
)


def found(name, facts=WELL, place=PLACE):
    (finding,) = [each for each in judged(facts, place, budget_s=0.02) if each.name == name]
    return finding


def room(**changes):
    return replace(WELL, room=replace(WELL.room, **changes))


def test_the_server():
    assert found("server").detail == f"Valkey 9.1.2 at {PLACE}, modules: search"
    assert found("server").state is CheckState.OK


@pytest.mark.parametrize("changes", [{"cluster": True}, {"replica": True}])
def test_servers_that_cannot_be_used(changes):
    bad = found("server", replace(WELL, **changes))
    assert bad.state is CheckState.BAD
    assert bad.fix.startswith("export REDIS_URL=redis://")


class TestTheWayToIt:
    def test_encrypted(self):
        assert found("tls", replace(WELL, tls=True)).state is CheckState.OK

    @pytest.mark.parametrize("place", ["redis://127.0.0.1:6379/0", "unix:///r.sock?db=0"])
    def test_on_this_machine(self, place):
        assert found("tls", place=place).state is CheckState.OK

    def test_in_the_open(self):
        open_way = found("tls")
        assert (open_way.state, open_way.fix) == (
            CheckState.NOTE,
            "export REDIS_URL=rediss://cache.example.com:6379/0",
        )


class TestWhatItDoesWhenItIsFull:
    def test_old_entries_go(self):
        well = found("eviction")
        assert (well.state, well.fix) == (CheckState.OK, "")
        assert well.detail == "maxmemory-policy volatile-lru, 40 MB of 1,000 MB used"

    def test_it_keeps_nothing_new(self):
        bad = found("eviction", room(policy="noeviction"))
        assert bad.state is CheckState.BAD
        assert bad.detail.endswith("when it is full nothing new is cached")
        assert bad.fix == f"redis-cli -u {PLACE} CONFIG SET maxmemory-policy volatile-lru"

    def test_it_may_take_the_whole_machine(self):
        note = found("eviction", room(policy="noeviction", max_bytes=0))
        assert note.state is CheckState.NOTE
        assert note.fix.endswith("CONFIG SET maxmemory 1gb maxmemory-policy volatile-lru")

    def test_it_throws_away_whatever_it_meets(self):
        assert found("eviction", room(policy="allkeys-random")).state is CheckState.NOTE

    def test_it_is_too_small(self):
        note = found("eviction", room(evicted=1234))
        assert "1,234 entries had to make room" in note.detail
        assert note.fix.endswith("CONFIG SET maxmemory 2000mb")

    def test_a_socket_is_reached_by_its_path(self):
        note = found("eviction", room(policy="allkeys-random"), "unix:///r.sock?db=0")
        assert note.fix.startswith("redis-cli -s /r.sock CONFIG SET")


class TestSpeed:
    def test_well_within_what_a_request_waits(self):
        assert found("speed").state is CheckState.OK

    def test_too_slow_to_be_of_use(self):
        bad = found("speed", replace(WELL, ping_ms=40.0))
        assert bad.state is CheckState.BAD
        assert bad.fix == "export LLMCTL_REDIS_BUDGET_S=0.12"
