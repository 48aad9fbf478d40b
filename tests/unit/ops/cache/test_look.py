import pytest

from llmctl.core.errors import ConfigError, LlmctlError, NotFound
from llmctl.core.reports_cache import CacheFilter
from llmctl.ops.cache import look
from tests.unit.ops.cache.stage import Stage

EVERYTHING = CacheFilter()


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path)
    stage.add(1, "How do I undo a commit?", age_s=300)
    stage.add(2, "What is a monad?", age_s=100, tenant="ada")
    stage.add(3, "Undo the last two commits", age_s=200, model="llama")
    return stage


async def ids(listing):
    return [entry.id[:2] for entry in (await listing).entries]


async def test_the_newest_come_first(stage):
    listing = await look.newest(stage.access, EVERYTHING, limit=2)
    assert [entry.id for entry in listing.entries] == ["02" * 6, "03" * 6]
    assert (listing.total, listing.by) == (3, "created")
    first = listing.entries[0]
    assert (first.tenant, first.model, first.asked) == ("ada", "qwen", "claude-x")
    assert (first.prompt_tokens, first.completion_tokens) == (10, 20)
    assert first.created == stage.clock.now() - 100
    assert first.similarity is None


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"tenant": "ada"}, ["02"]),
        ({"tenant": "nobody"}, []),
        ({"model": "llama"}, ["03"]),
        ({"model": "claude-x"}, ["02", "03", "01"]),
        ({"before": 1_800_000_000.0 - 150}, ["03", "01"]),
    ],
)
async def test_filters(stage, wish, expected):
    assert await ids(look.newest(stage.access, CacheFilter(**wish), limit=10)) == expected


async def test_the_most_alike_come_first_and_others_not_at_all(stage):
    listing = await look.nearest(stage.access, EVERYTHING, "undo a commit", limit=10)
    assert [entry.id[:2] for entry in listing.entries][:2] == ["01", "03"]
    assert listing.by == "words"
    assert listing.entries[0].similarity > listing.entries[1].similarity > 0
    assert await ids(look.nearest(stage.access, EVERYTHING, "ζζζζ", limit=10)) == []


async def test_an_entry_is_shown_by_the_beginning_of_its_id(stage):
    for text in ("0101", "01010", "0101010101", "01" * 6, "01" * 32, " 0101 "):
        shown = await look.show(stage.access, text)
        assert shown.entry.id == "01" * 6
        assert shown.content == [{"type": "text", "text": "42"}]
        assert shown.stop_reason == "end_turn"


@pytest.mark.parametrize("text", ["", "012", "xyzw", "01" * 33, "../etc"])
async def test_what_cannot_be_an_id_is_refused(stage, text):
    with pytest.raises(ConfigError, match="is no id of a cached answer"):
        await look.show(stage.access, text)


async def test_an_unknown_one_and_an_ambiguous_one(stage):
    with pytest.raises(NotFound, match="no cached answer has the id beef"):
        await look.show(stage.access, "beef")
    stage.access.entries.put(b"\x01" * 31 + b"\x00", (await look.find(stage.access, "0101")).entry)
    with pytest.raises(ConfigError, match="2 cached answers have an id that begins so"):
        await look.show(stage.access, "0101")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "memory"}, "in the memory of llmctl serve"),
        ({"kind": "memory", "LLMCTL_CACHE_ENABLED": "false"}, "switched off"),
    ],
)
async def test_what_is_in_another_process_cannot_be_looked_at(tmp_path, fields, reason):
    access = Stage(tmp_path, **fields).access
    for asking in (
        look.newest(access, EVERYTHING, limit=1),
        look.nearest(access, EVERYTHING, "x", limit=1),
        look.show(access, "0101"),
    ):
        with pytest.raises(LlmctlError, match=reason):
            await asking
