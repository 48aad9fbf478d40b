"""`/metrics` after real requests."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.emulators.ollama import Answer, HttpError, OllamaEmulator
from tests.integration.proxy.conftest import ask


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


async def scrape(proxy) -> dict[str, float]:
    async with proxy.session.get(proxy.url + "/metrics", headers=proxy.headers) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = await answer.text()
    return {
        " ".join(
            [sample.name, *(value for _, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_engines_are_told_apart_from_the_cache(engine, start):
    name = f"ollama:{engine.url}"
    async with start(name) as proxy:
        engine.script = Answer("one ", "two ", "three")
        for _ in range(3):
            await proxy.events(ask("Same"))
        engine.script = HttpError(500, "cudaMalloc failed: out of memory")
        status, _, _ = await proxy.json(ask("Another"))
        assert status == 500
        found = await scrape(proxy)
    model = f"{name} qwen3-coder:30b"
    assert found["llmctl_requests_total hit 200"] == 2
    assert found["llmctl_requests_total miss 500"] == 1
    assert found[f"llmctl_backend_answers_total {model}"] == 1
    assert found[f"llmctl_backend_tokens_total {name} completion qwen3-coder:30b"] == 3
    assert found[f"llmctl_backend_first_token_seconds_count {model}"] == 1
    assert found[f"llmctl_backend_output_token_seconds_count {model}"] == 1
    assert found["llmctl_first_token_seconds_count"] == 3
    assert found[f"llmctl_backend_failures_total {name}"] >= 1
    assert found[f"llmctl_backend_up {name}"] == 1
    assert found["llmctl_errors_total api_error"] == 1
    assert found["llmctl_ledger_up"] == found["llmctl_cache_up"] == 1
    assert found["llmctl_health_state ok"] == 1
    assert found["llmctl_spend_today_usd"] == 0
