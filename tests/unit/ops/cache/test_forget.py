import pytest

from llmctl.cache.sealed import Seal
from llmctl.config.secrets import cache_seal_key
from llmctl.core.errors import NotFound
from llmctl.core.reports_cache import CacheFilter
from llmctl.ops.cache import forget, look
from tests.unit.ops.cache.stage import Stage

EVERYTHING = CacheFilter()


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    stage.add(1, "one", age_s=300)
    stage.add(2, "two", age_s=100, tenant="ada")
    stage.add(3, "three", age_s=200, model="llama")
    return stage


async def left(stage):
    listing = await look.newest(stage.access, EVERYTHING, limit=10)
    return {entry.excerpt for entry in listing.entries}


async def test_one(stage):
    gone = await forget.forget(stage.access, "0202")
    assert (gone.entries, gone.location, gone.dry_run) == (1, "this process", False)
    assert await left(stage) == {"one", "three"}


async def test_an_unknown_one_is_told_and_forgotten_all_the_same(stage):
    with pytest.raises(NotFound):
        await forget.forget(stage.access, "fe" * 6)
    stage.add(0xFE, "from the memory of a proxy", age_s=1)
    with pytest.raises(NotFound):
        await look.show(stage.access, "fe" * 6)


async def test_a_part_of_an_unknown_id_forgets_nothing(stage):
    with pytest.raises(NotFound):
        await forget.forget(stage.access, "fefe")
    assert not (stage.access.paths.data / "forgotten.json").exists()


@pytest.mark.parametrize(
    ("wish", "gone"),
    [
        ({}, {"one", "two", "three"}),
        ({"tenant": "ada"}, {"two"}),
        ({"model": "llama"}, {"three"}),
        ({"before": 1_800_000_000.0 - 150}, {"one", "three"}),
        ({"before": 1_800_000_000.0 - 150, "model": "llama"}, {"three"}),
        ({"tenant": "nobody"}, set()),
    ],
)
async def test_clear_removes_what_was_planned(stage, wish, gone):
    wish = CacheFilter(**wish)
    plan = await forget.plan_clear(stage.access, wish)
    assert (plan.entries, plan.dry_run) == (len(gone), True)
    assert await left(stage) == {"one", "two", "three"}
    assert (await forget.clear(stage.access, wish)).entries == len(gone)
    assert await left(stage) == {"one", "two", "three"} - gone


async def test_everything_includes_what_cannot_be_read(stage):
    stage.store.put(b"x", b"not sealed", ttl_s=60)
    assert (await forget.plan_clear(stage.access, EVERYTHING)).entries == 4
    assert (await forget.clear(stage.access, EVERYTHING)).entries == 4


async def test_the_key_can_be_dropped(stage):
    data = stage.access.paths.data
    old = cache_seal_key(data)
    sealed = Seal(old).seal(b"text", b"place")
    done = await forget.clear(stage.access, EVERYTHING, drop_key=True)
    assert (done.entries, done.key_dropped) == (3, True)
    assert cache_seal_key(data) != old
    assert Seal(cache_seal_key(data)).open(sealed, b"place") is None


async def test_in_memory_only_the_proxy_is_told(tmp_path):
    stage = Stage(tmp_path, kind="memory")
    assert (await forget.plan_clear(stage.access, EVERYTHING)).entries == 0
    await forget.clear(stage.access, EVERYTHING)
    assert (await forget.forget(stage.access, "ab" * 6)).entries == 0
    assert (stage.access.paths.data / "forgotten.json").exists()
