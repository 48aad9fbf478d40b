from pathlib import Path

import pytest

from llmctl.config.schema import (
    BackendConfig,
    Config,
    EmbeddedConfig,
    ModelConfig,
    TimeoutConfig,
)
from llmctl.config.secrets import Secret
from llmctl.ops.env import CLIENT_FAMILIES, Served, assume, claude_environment
from tests.emulators.vocabulary import synthetic_vocabulary
from tests.tiny_gguf import write_model


def variables(
    *, context_tokens=65536, url="http://127.0.0.1:8000", environ=None, token="tok-en", **t
):
    served = Served(
        url=url,
        models={"OPUS": "big", "SONNET": "middle", "HAIKU": "small"},
        context_tokens=context_tokens,
    )
    return claude_environment(
        served,
        token=Secret(token) if token else None,
        timeouts=TimeoutConfig(**t),
        environ=environ or {},
    )


def test_everything_the_client_is_told():
    assert variables() == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000",
        "ANTHROPIC_AUTH_TOKEN": "tok-en",
        "ANTHROPIC_API_KEY": "",
        "ANTHROPIC_MODEL": "middle",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "big",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "middle",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "small",
        "CLAUDE_CODE_SUBAGENT_MODEL": "middle",
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "86728",
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "86728",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "16384",
        "API_TIMEOUT_MS": "1200000",
        "API_FORCE_IDLE_TIMEOUT": "0",
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": "1200000",
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_FEEDBACK_COMMAND": "1",
        "DISABLE_TELEMETRY": "1",
    }


@pytest.mark.parametrize(
    ("context", "threshold"),
    [(4096, 2048), (8192, 4096), (32768, 28672), (65536, 57344), (262144, 229376)],
)
def test_the_client_compacts_close_to_the_end_of_the_window(context, threshold):
    told = variables(context_tokens=context)
    window = int(told["CLAUDE_CODE_AUTO_COMPACT_WINDOW"])
    assert told["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == str(window)
    reserved = min(int(told["CLAUDE_CODE_MAX_OUTPUT_TOKENS"]), 20000) + 13000  # by the client
    assert window - reserved == threshold


def test_some_credential_is_always_there():
    assert variables(token=None)["ANTHROPIC_AUTH_TOKEN"] == "llmctl"


@pytest.mark.parametrize(
    ("context", "output"), [(8192, "2048"), (131072, "32000"), (1_000_000, "32000"), (3, "1")]
)
def test_room_is_left_for_the_prompt(context, output):
    assert variables(context_tokens=context)["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == output


def test_the_client_waits_as_long_as_the_proxy_does():
    assert variables(first_token_s=60, idle_s=90.5)["API_TIMEOUT_MS"] == "90500"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"])
def test_loopback_is_exempted_from_an_http_proxy(name):
    found = variables(environ={name: "http://corp:3128", "NO_PROXY": "intranet,localhost"})
    assert found["NO_PROXY"] == found["no_proxy"] == "intranet,localhost,127.0.0.1,::1"


def test_the_lower_case_list_is_the_one_in_force():
    found = variables(environ={"http_proxy": "x", "NO_PROXY": "a", "no_proxy": "b"})
    assert found["no_proxy"] == "b,127.0.0.1,localhost,::1"


def test_other_machines_are_left_to_the_http_proxy():
    found = variables(url="http://gpu.example:8000", environ={"HTTP_PROXY": "http://corp:3128"})
    assert "NO_PROXY" not in found


def test_without_asking_the_configuration_decides():
    served = assume(Config(model=ModelConfig(name="qwen", num_ctx=4096)), "http://x")
    assert served.models == dict.fromkeys(CLIENT_FAMILIES, "qwen")
    assert served.context_tokens == 4096
    unset = assume(Config(), "http://x")
    assert (unset.models["SONNET"], unset.context_tokens) == ("qwen3-coder", 65536)


EMBEDDED = BackendConfig(url="embedded")
OLLAMA = BackendConfig(url="ollama:http://127.0.0.1:11434")


def guessed(config: Config) -> tuple[str, int]:
    served = assume(config, "http://x")
    return served.models["SONNET"], served.context_tokens


def test_the_embedded_engine_has_a_model_of_its_own(tmp_path: Path):
    small = "SmolLM2-135M-Instruct.Q4_1"
    assert guessed(Config(backend=[EMBEDDED])) == (small, 8192)
    assert guessed(Config(backend=[EMBEDDED], model=ModelConfig(num_ctx=2048))) == (small, 2048)
    assert guessed(Config(backend=[EMBEDDED, OLLAMA])) == ("qwen3-coder", 65536)


def test_the_embedded_engine_has_the_model_it_is_given(tmp_path: Path):
    gguf = tmp_path / "mine.Q8_0.gguf"
    config = Config(backend=[EMBEDDED], embedded=EmbeddedConfig(gguf=str(gguf)))
    assert guessed(config) == ("mine.Q8_0", 65536)
    write_model(gguf, synthetic_vocabulary())
    assert guessed(config) == ("mine.Q8_0", 512)
