"""Which engine's model embeds."""

import pytest

from llmctl.backend.models import only_embedding
from llmctl.backend.pool import Pool
from llmctl.config.schema import BackendConfig, ModelConfig, TimeoutConfig
from llmctl.protocol.errors import overloaded
from tests.clocks import ManualClock
from tests.unit.backend.fakes import FakeEngine, model

NOMIC = model("nomic-embed-text:latest", "embedding")
MIXED = model("gte-qwen2", "completion", "embedding")


class Embedding(FakeEngine):
    """Can embed, too."""

    async def embed(self, text, model, *, keep_alive, within_s):
        return [1.0]

    async def loaded(self):
        return frozenset()


async def pool_of(*engines: FakeEngine) -> Pool:
    backends = [(engine, BackendConfig(url="ollama:")) for engine in engines]
    pool = Pool(backends, ModelConfig(), TimeoutConfig(), ManualClock())
    await pool.start()
    return pool


def test_one_made_for_it_is_preferred():
    assert only_embedding([model(), MIXED, NOMIC]) is NOMIC
    assert only_embedding([model(), MIXED]) is MIXED
    assert only_embedding([model()]) is None


async def test_the_first_engine_that_has_one_and_is_well_embeds():
    down = Embedding("down", models=overloaded("gone"))
    plain, able = FakeEngine("plain", models=[NOMIC]), Embedding("able", models=[model(), NOMIC])
    pool = await pool_of(down, plain, able)
    assert pool.embedding() == (able, NOMIC)
    assert not pool.all_answered
    await pool.close()


@pytest.mark.parametrize(
    ("name", "found"),
    [("nomic-embed-text", True), ("NOMIC-EMBED-TEXT:latest", True), ("mxbai-embed-large", False)],
)
async def test_one_can_be_asked_for_by_name(name, found):
    able = Embedding("able", models=[model(), MIXED, NOMIC])
    pool = await pool_of(able)
    assert pool.embedding(name) == ((able, NOMIC) if found else None)
    assert pool.all_answered
    await pool.close()
