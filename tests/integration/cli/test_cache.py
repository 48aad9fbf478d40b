"""`llmctl cache …` as processes, beside running proxies and without any."""

import asyncio
import json
import signal
import sqlite3
from contextlib import closing

import pytest

from tests.e2e.processes import llmctl_command, run
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.proxy.test_process import Served, environment, serving
from tests.integration.valkey import PATIENT_S, free_port, running

PATIENCE_S = 60.0
QUESTIONS = ("How do I undo a commit?", "What is a monad?", "Explain asyncio to me")


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


async def llmctl(home, *arguments, **settings):
    """Run ``llmctl cache …``."""
    return await run(
        *llmctl_command(), "cache", *arguments, environment=environment(home, **settings)
    )


async def read(home, *arguments, **settings):
    """Run it with ``--json`` and return the document."""
    ended = await llmctl(home, *arguments, "--json", **settings)
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


async def outcome(served: Served, text: str) -> str:
    fields = {"messages": [{"role": "user", "content": text}]}
    async with served.post(**fields) as response:
        assert response.status == 200, await response.text()
        await response.read()
        return response.headers["x-llmctl-cache"]


async def stored(home, count: int, **settings) -> list[dict]:
    """Wait until so many answers are written, and return them."""
    async with asyncio.timeout(PATIENCE_S):
        while len((entries := (await read(home, "list", **settings))["entries"])) != count:
            await asyncio.sleep(0.05)
    return entries


async def forgotten_within_seconds(served: Served, text: str) -> None:
    """Wait until a proxy that had an answer in memory asks the engine again."""
    async with asyncio.timeout(PATIENCE_S):
        while await outcome(served, text) == "hit":
            await asyncio.sleep(0.02)


async def test_looking_into_it_and_forgetting_while_the_proxy_runs(llmctl_home, engine):
    async with serving(llmctl_home, engine.url) as served:
        port = {"serve_port": served.port}
        for text in QUESTIONS:
            assert [await outcome(served, text) for _ in range(2)] == ["miss", "hit"]
        entries = await stored(llmctl_home, 3)
        assert {entry["excerpt"] for entry in entries} == set(QUESTIONS)
        assert {entry["tenant"] for entry in entries} == {"local"}

        near = await read(llmctl_home, "list", "--near", "undo commits", "--limit", "1")
        assert near["by"] == "words"
        chosen = near["entries"][0]
        assert chosen["excerpt"] == QUESTIONS[0]
        shown = await read(llmctl_home, "show", chosen["id"][:6])
        assert shown["content"] == [{"type": "text", "text": "Hello there."}]
        assert shown["created_at"].endswith("Z")

        stats = await read(llmctl_home, "stats", **port)
        assert (stats["entries"], stats["unreadable"], stats["rejected"]) == (3, 0, 0)
        assert stats["usage"]["tiers"]["exact"] == {"hits": 3, "ratio": 0.5}
        assert float(stats["usage"]["saved_usd"]) > 0
        assert stats["evicted"] == 0

        gone = await read(llmctl_home, "forget", chosen["id"])
        assert gone["entries"] == 1
        await forgotten_within_seconds(served, QUESTIONS[0])
        assert [await outcome(served, text) for text in QUESTIONS] == ["hit"] * 3

        again = await llmctl(llmctl_home, "forget", "0123456789ab")
        assert again.code == 5
        assert "no cached answer has the id 0123456789ab" in again.stderr


async def test_clearing_asks_plans_and_is_noticed(llmctl_home, engine):
    async with serving(llmctl_home, engine.url) as served:
        for text in QUESTIONS[:2]:
            assert [await outcome(served, text) for _ in range(2)] == ["miss", "hit"]
        await stored(llmctl_home, 2)
        refused = await llmctl(llmctl_home, "clear")
        assert refused.code == 2
        assert "Remove 2 cached answers" in refused.stderr
        assert "--yes" in refused.stderr
        plan = await read(llmctl_home, "clear", "--dry-run")
        assert (plan["entries"], plan["dry_run"]) == (2, True)
        assert (await read(llmctl_home, "clear", "--older", "1h", "--yes"))["entries"] == 0
        assert (await read(llmctl_home, "clear", "--tenant", "ada", "--yes"))["entries"] == 0
        assert await outcome(served, QUESTIONS[0]) == "hit"
        assert (await read(llmctl_home, "clear", "--yes"))["entries"] == 2
        for text in QUESTIONS[:2]:
            await forgotten_within_seconds(served, text)
        await stored(llmctl_home, 2)
        served.signal(signal.SIGTERM)
        assert (await served.ended())[0] == 0
    # and with the proxy down
    text = (await llmctl(llmctl_home, "clear", "--model", "qwen3-coder:30b", "--yes")).stdout
    assert text == f"removed 2 cached answers from {llmctl_home / 'cache' / 'answers.db'}\n"
    assert await stored(llmctl_home, 0) == []
    assert "no cached answer fits" in (await llmctl(llmctl_home, "list")).stdout


async def test_dropping_the_key_makes_copies_worthless(llmctl_home, engine):
    path = llmctl_home / "cache" / "answers.db"
    async with serving(llmctl_home, engine.url) as served:
        assert await outcome(served, QUESTIONS[0]) == "miss"
        await stored(llmctl_home, 1)
        with closing(sqlite3.connect(path)) as db:
            copied = db.execute("SELECT * FROM entries").fetchall()
        with_condition = await llmctl(llmctl_home, "clear", "--drop-key", "--model", "x", "--yes")
        assert with_condition.code == 2
        done = await read(llmctl_home, "clear", "--drop-key", "--yes")
        assert (done["entries"], done["key_dropped"]) == (1, True)
        # within seconds the proxy goes on with the new key, which commands have too; until then
        # it may seal an answer with the old one
        async with asyncio.timeout(PATIENCE_S):
            while not (await read(llmctl_home, "list"))["entries"]:
                await outcome(served, QUESTIONS[0])
        with closing(sqlite3.connect(path)) as db, db:
            db.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", copied)
        stats = await read(llmctl_home, "stats", serve_port=served.port)
        assert (stats["entries"], stats["unreadable"]) == (1, 1)


async def test_proxies_of_others_on_the_same_redis_forget_too(tmp_path, engine):
    one, two = tmp_path / "one", tmp_path / "two"
    with running() as valkey:
        url = {"redis_url": valkey.url, "redis_budget_s": PATIENT_S}
        async with (
            serving(one, engine.url, **url) as first,
            serving(two, engine.url, **url) as second,
        ):
            for served in (first, second):
                async with asyncio.timeout(PATIENCE_S):
                    while await outcome(served, QUESTIONS[0]) != "hit":
                        await asyncio.sleep(0.02)
            # each has keys of its own: the other's entries are there, and cannot be read
            assert (await read(one, "stats", **url))["unreadable"] == 1
            assert len(await stored(one, 1, **url)) == 1
            assert (await read(one, "clear", "--yes", **url))["entries"] == 2
            await forgotten_within_seconds(first, QUESTIONS[0])
            await forgotten_within_seconds(second, QUESTIONS[0])


async def test_an_answer_in_the_memory_of_the_proxy(llmctl_home, engine):
    memory = {"cache_store": "memory"}
    async with serving(llmctl_home, engine.url, **memory) as served:
        assert [await outcome(served, QUESTIONS[0]) for _ in range(2)] == ["miss", "hit"]
        listed = await llmctl(llmctl_home, "list", **memory)
        assert listed.code == 1
        assert "in the memory of llmctl serve" in listed.stderr
        stats = await read(llmctl_home, "stats", **memory, serve_port=served.port)
        assert (stats["store"], stats["entries"]) == ("memory", 1)
        assert (await llmctl(llmctl_home, "clear", "--yes", **memory)).code == 0
        await forgotten_within_seconds(served, QUESTIONS[0])
        assert await outcome(served, QUESTIONS[0]) == "hit"


async def test_warming(llmctl_home, engine, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in QUESTIONS))
    async with serving(llmctl_home, engine.url) as served:
        port = {"serve_port": served.port}
        first = await read(llmctl_home, "warm", str(file), **port)
        assert (first["prompts"], first["misses"], first["hits"]) == (3, 3, 0)
        assert first["completion_tokens"] > 0
        shown = await llmctl(llmctl_home, "warm", str(file), "--parallel", "3", **port)
        assert "hits     3 were in the cache" in shown.stdout
        assert "3 of 3: 3 hits, 0 misses" in shown.stderr
        quiet = await llmctl(llmctl_home, "warm", str(file), "-q", **port)
        assert quiet.stderr == ""
        file.write_text('{"prompt": "hi", "max_tokens": 0}\n{"prompt": "What is a monad?"}\n')
        failed = await llmctl(llmctl_home, "warm", str(file), **port)
        assert failed.code == 6
        assert "line 1: 400: max_tokens" in failed.stdout
        assert "hits     1" in failed.stdout
    unanswered = await llmctl(llmctl_home, "warm", str(file), **port)
    assert unanswered.code == 6
    assert "no proxy answers at" in unanswered.stderr


async def test_the_test_leaves_nothing_behind(llmctl_home, engine):
    engine.script = Answer("yes")
    async with serving(llmctl_home, engine.url) as served:
        ended = await llmctl(llmctl_home, "test", serve_port=served.port)
        assert ended.code == 0, ended.stdout
        assert "WRONG" not in ended.stdout
        assert ended.stderr == ""
        for name in ("hit", "miss", "replay, stream", "changed value", "time to live", "eviction"):
            assert f"\n{name} " in ended.stdout
        assert "5 of 5 were the same answer, from the cache" in ended.stdout
        assert await stored(llmctl_home, 0) == []
    assert [each.name for each in (llmctl_home / "cache").glob("test-*")] == []


async def test_the_test_on_redis_and_on_one_that_is_dead(llmctl_home):
    with running() as valkey:
        patient = {"redis_url": valkey.url, "redis_budget_s": PATIENT_S}
        found = await read(llmctl_home, "test", "--offline", **patient)
        assert found["ok"]
        checks = {check["name"]: check for check in found["checks"]}
        assert checks["hit"]["p50_ms"] > 0
        assert "noeviction" in checks["eviction"]["result"]
        assert valkey.command("DBSIZE") == b"0"
    dead = await llmctl(
        llmctl_home, "test", "--offline", redis_url=f"redis://127.0.0.1:{free_port()}/0"
    )
    assert dead.code == 3
    assert "WRONG" in dead.stdout
