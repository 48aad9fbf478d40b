import json

import pytest

from llmctl.core.money import MicroUsd
from llmctl.core.rental import StepState
from llmctl.core.reports_cache import (
    Ages,
    CacheCheck,
    CacheEntry,
    CacheListing,
    CacheStats,
    CacheTest,
    CacheUsage,
    Cleared,
    ShownEntry,
    TierUse,
    WarmFailure,
    WarmProgress,
    WarmReport,
)
from llmctl.render import cache
from llmctl.semantic.report import SemanticReport

NOW = 1_800_000_000.0


def entry(**fields) -> CacheEntry:
    whole = {
        "id": "5f0c2a9d41be",
        "tenant": "local",
        "model": "qwen3-coder:30b",
        "asked": "claude-sonnet-5",
        "tier": "exact",
        "created": NOW - 4000,
        "expires": NOW + 80_000,
        "bytes": 4321,
        "prompt_tokens": 1200,
        "completion_tokens": 345,
        "total_ms": 6789.0,
        "excerpt": "How do I undo the last commit without losing my work?",
    }
    return CacheEntry(**(whole | fields))


def listing(*entries, total=None, by="created") -> CacheListing:
    return CacheListing(entries=list(entries), total=total or len(entries), by=by)


def test_a_list_is_cut_at_the_width_of_the_terminal_only():
    found = listing(entry(), entry(id="aaaaaaaaaaaa", created=NOW, excerpt=""), total=7)
    assert (
        cache.listing_text(found, now=NOW, width=80)
        == """\
id                  age  model            tokens    size  question
5f0c2a9d41be  1 h 6 min  qwen3-coder:30b     345  4.3 kB  How do I undo the las…
aaaaaaaaaaaa        0 s  qwen3-coder:30b     345  4.3 kB  -
2 of 7, newest first
"""
    )
    assert entry().excerpt in cache.listing_text(found, now=NOW)
    narrow = cache.listing_text(found, now=NOW, width=10).splitlines()
    assert narrow[1].endswith("How do I undo the l…")


def test_tenants_and_likeness_are_shown_where_they_say_something():
    found = listing(entry(similarity=0.5), entry(tenant="ada", similarity=0.25), by="words")
    lines = cache.listing_text(found, now=NOW).splitlines()
    assert lines[0].split() == [
        "id",
        "age",
        "model",
        "tokens",
        "size",
        "tenant",
        "alike",
        "question",
    ]
    assert "  ada     0.250  " in lines[2]
    assert lines[3] == "by their words"
    assert cache.listing_text(listing(), now=NOW) == "no cached answer fits\n"


def test_documents_have_times_as_text():
    document = json.loads(cache.listing_document(listing(entry(accessed=NOW))))
    (one,) = document["entries"]
    assert one["created_at"] == "2027-01-15T06:53:20Z"
    assert one["accessed_at"] == "2027-01-15T08:00:00Z"
    assert {"created", "expires", "accessed"}.isdisjoint(one)
    assert document["total"] == 1


def test_an_answer_is_shown_with_its_calls():
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "Let me look.\nNow."},
        {"type": "tool_use", "name": "Bash", "input": {"command": "git log"}},
    ]
    shown = ShownEntry(entry=entry(), stop_reason="tool_use", content=content)
    assert (
        cache.shown_text(shown, now=NOW)
        == """\
id        5f0c2a9d41be
tenant    local
model     qwen3-coder:30b, asked for as claude-sonnet-5
made      2027-01-15T06:53:20Z, 1 h 6 min ago
until     2027-01-16T06:13:20Z
tokens    1,200 in, 345 out; the engine took 6.79 s
size      4.3 kB
ended by  tool_use

question
  How do I undo the last commit without losing my work?

answer
  [thinks] Hm.
  Let me look.
  Now.
  [calls Bash] {"command":"git log"}
"""
    )
    document = json.loads(cache.shown_document(shown))
    assert document["content"] == content
    assert (document["id"], document["questions"]) == ("5f0c2a9d41be", [])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"entries": 1}, "removed 1 cached answer from F\n"),
        ({"entries": 1234, "dry_run": True}, "would remove 1,234 cached answers from F\n"),
        (
            {"entries": 0, "key_dropped": True},
            "removed 0 cached answers from F\n"
            "the key is a new one: no copy of what was cached can be read again\n",
        ),
    ],
)
def test_what_was_removed(fields, text):
    assert cache.cleared_text(Cleared(location="F", **fields)) == text


def stats(**fields) -> CacheStats:
    whole = {
        "store": "sqlite",
        "location": "/c/answers.db",
        "healthy": True,
        "detail": "",
        "advice": "",
        "entries": 12,
        "bytes": 52_000,
        "max_bytes": 1_073_741_824,
        "unreadable": 0,
        "ages": Ages(newest_s=5, median_s=3700, oldest_s=90_000),
        "evicted": 3,
        "by_model": {"qwen": 12},
        "rejected": 0,
        "usage": CacheUsage(
            requests=100,
            looked=80,
            hit_ratio=0.5,
            tiers={
                "exact": TierUse(hits=36, ratio=0.45),
                "semantic": TierUse(hits=4, ratio=0.05),
                "shared": TierUse(hits=0, ratio=0.0),
            },
            tokens_saved=123_456,
            prompt_tokens_saved=120_000,
            completion_tokens_saved=3_456,
            saved_usd=MicroUsd(412_345),
            since=NOW,
        ),
    }
    return CacheStats(**(whole | fields))


SEMANTIC = SemanticReport(
    entries=40,
    served=4,
    compared=60,
    same=59,
    would_serve=50,
    wrong=1,
    wrong_share=0.02,
    wrong_low=0.0035,
    wrong_high=0.105,
    error_rate=0.01,
    bound_met=None,
    unreadable=0,
    since=NOW,
    recommendation="shadow: 1 of 50 it would have served were wrong",
)


def test_figures():
    assert (
        cache.stats_text(stats(), SEMANTIC)
        == """\
store       sqlite /c/answers.db
entries     12, 52.0 kB of 1.1 GB
age         newest 5 s, median 1 h 1 min, oldest 1 d 1 h
evicted     3
requests    100, 80 asked the cache
answered    exact 45.0% (36), semantic 5.0% (4)
saved       120k in, 3,456 out; $0.41 at the price of the cloud
semantic    40 questions, 4 answers served
wrong hits  1 of 50 compared: 0.35% to 10.50% with 95 % confidence
advice      shadow: 1 of 50 it would have served were wrong
"""
    )


def test_trouble_is_told():
    text = cache.stats_text(
        stats(
            entries=None,
            ages=None,
            evicted=None,
            unreadable=2,
            rejected=5,
            usage=None,
            by_model={"a": 1, "b": 2},
            detail="it is full",
            advice="this Redis never evicts",
        ),
        None,
    )
    assert "entries     unknown: no proxy answers" in text
    assert "models      a 1, b 2\n" in text
    assert "evicted     unknown\n" in text
    assert "unreadable  2: of other installations, or changed\n" in text
    assert "rejected    5 by the running proxy: not as it wrote them\n" in text
    assert "requests    none on record\n" in text
    assert text.endswith("note: it is full\nnote: this Redis never evicts\n")


def test_money_and_times_in_the_document():
    document = json.loads(cache.stats_document(stats(), SEMANTIC))
    assert document["usage"]["saved_usd"] == "0.4123"
    assert document["usage"]["since"] == "2027-01-15T08:00:00Z"
    assert document["semantic"]["wrong_high"] == 0.105
    bare = json.loads(cache.stats_document(stats(usage=None), None))
    assert (bare["usage"], bare["semantic"]) == (None, None)


def test_what_became_of_prompts():
    report = WarmReport(
        prompts=1000,
        hits=900,
        misses=97,
        uncached=1,
        errors=2,
        failures=[WarmFailure(line=7, message="529: no slot is free")],
        seconds=83.2,
        prompt_tokens=12_000,
        completion_tokens=34_000,
    )
    assert (
        cache.warm_text(report)
        == """\
prompts   1,000 in 1 min 23 s
hits      900 were in the cache
misses    97 are in it now; 12,000 in, 34,000 out
not kept  1: the answer was cut, or the cache is off
errors    2
line 7: 529: no slot is free
"""
    )


@pytest.mark.parametrize(
    ("done", "errors", "text", "state"),
    [
        (3, 0, "3 of 10: 2 hits, 1 misses", StepState.PROGRESS),
        (10, 1, "10 of 10: 2 hits, 1 misses, 1 errors", StepState.DONE),
    ],
)
def test_how_far_it_has_come(done, errors, text, state):
    progress = WarmProgress(done=done, total=10, hits=2, misses=1, errors=errors)
    step = cache.warm_step(progress, 1.5)
    assert (step.text, step.state, step.elapsed_s) == (text, state, 1.5)


CHECKS = [
    CacheCheck(name="hit", ok=True, result="100 of 100", p50_ms=0.0102, p95_ms=1.25),
    CacheCheck(name="eviction", ok=None, result="not told"),
    CacheCheck(name="time to live", ok=False, result="still there after 1 s"),
]


def test_checks():
    report = CacheTest(store="sqlite", location="/c/answers.db", checks=CHECKS)
    assert not report.ok
    assert (
        cache.test_text(report, None)
        == """\
sqlite /c/answers.db

check                  p50     p95  result
hit           ok     10 µs  1.2 ms  100 of 100
eviction      -                     not told
time to live  WRONG                 still there after 1 s
"""
    )
    assert "wrong hits  1 of 50" in cache.test_text(report, SEMANTIC)
    document = json.loads(cache.test_document(report, SEMANTIC))
    assert document["ok"] is False
    assert document["checks"][0]["p50_ms"] == 0.0102
    assert document["semantic"]["since"] == "2027-01-15T08:00:00Z"
    assert CacheTest(store="s", location="l", checks=CHECKS[:2]).ok
