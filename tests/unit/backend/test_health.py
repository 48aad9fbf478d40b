import asyncio
import logging

from llmctl.backend.base import Unreachable
from llmctl.backend.health import MISSES, Health
from llmctl.protocol.errors import overloaded
from tests.unit.backend.fakes import FakeEngine, model

REFUSED = Unreachable("cannot reach the engine at http://127.0.0.1:1: connection refused")
SLOW = overloaded("the engine did not answer /api/tags within 5 s")


class Watched:
    """An engine with its health, and how often it changed."""

    def __init__(self, **engine) -> None:
        self.engine = FakeEngine("ollama:http://127.0.0.1:1", **engine)
        self.changes = 0
        self.health = Health(self.engine, changed=self._changed)

    def _changed(self) -> None:
        self.changes += 1


async def test_nothing_is_known_before_the_first_check() -> None:
    health = Watched().health
    assert (health.healthy, health.models, health.reason) == (False, None, "not asked yet")


async def test_an_answer_makes_it_healthy() -> None:
    watched = Watched()
    await watched.health.check()
    assert (watched.health.healthy, watched.health.reason) == (True, "")
    assert watched.health.models == (model(),)
    assert watched.changes == 1


async def test_only_changes_are_reported() -> None:
    watched = Watched()
    await watched.health.check()
    await watched.health.check()
    assert watched.changes == 1
    watched.engine.models = [model("other")]
    await watched.health.check()
    assert watched.changes == 2


async def test_a_refusal_counts_at_once_and_the_models_are_remembered(caplog) -> None:
    watched = Watched()
    await watched.health.check()
    watched.engine.models = REFUSED
    with caplog.at_level(logging.WARNING):
        await watched.health.check()
        await watched.health.check()
    assert (watched.health.healthy, watched.health.reason) == (False, REFUSED.message)
    assert watched.health.models == (model(),)
    assert len(caplog.records) == 1


async def test_a_busy_engine_may_miss_one_check() -> None:
    watched = Watched()
    await watched.health.check()
    watched.engine.models = SLOW
    for _ in range(MISSES - 1):
        await watched.health.check()
    assert watched.health.healthy
    await watched.health.check()
    assert not watched.health.healthy


async def test_a_miss_is_forgotten_after_an_answer() -> None:
    watched = Watched()
    for answer in [[model()], SLOW, [model()], SLOW]:
        watched.engine.models = answer
        await watched.health.check()
    assert watched.health.healthy


async def test_the_first_failure_says_why() -> None:
    health = Watched(models=SLOW).health
    await health.check()
    assert (health.healthy, health.reason) == (False, SLOW.message)


async def test_a_bug_in_a_check_is_logged_once_and_counts_as_down(caplog) -> None:
    watched = Watched()
    await watched.health.check()
    watched.engine.models = None  # a list was promised
    await watched.health.check()
    await watched.health.check()
    assert not watched.health.healthy
    assert "the check itself failed" in watched.health.reason
    assert sum(record.exc_info is not None for record in caplog.records) == 1


async def test_a_lost_engine_is_down_and_looked_at_again_now() -> None:
    watched = Watched()
    watching = asyncio.get_running_loop().create_task(watched.health.watch())
    await watched.health.asked.wait()
    before = watched.engine.discoveries
    watched.health.lost("connection refused")
    assert (watched.health.healthy, watched.health.reason) == (False, "connection refused")
    while not watched.health.healthy:
        await asyncio.sleep(0)
    assert watched.engine.discoveries == before + 1
    watching.cancel()
