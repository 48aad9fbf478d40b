import pytest

from llmctl.backend.models import CLAUDE_NAMES, choose, find, is_claude, names
from llmctl.config.schema import ModelConfig
from llmctl.protocol.errors import ApiError
from tests.unit.backend.fakes import model

QWEN3, QWEN25 = model("qwen3-coder:30b"), model("qwen2.5-coder:7b", "completion")
LLAMA, EMBED = model("llama3.2:latest"), model("nomic-embed-text:latest", "embedding")
HUGGING = model("hf.co/unsloth/Qwen3-Coder-30B:Q4_K_M")
PLAIN = ModelConfig()
ALIASED = ModelConfig(aliases={"Fast": "llama3.2", "gone": "mixtral"})


@pytest.mark.parametrize(
    ("name", "models", "found"),
    [
        ("qwen3-coder:30b", [LLAMA, QWEN3], QWEN3),
        ("QWEN3-Coder:30B", [QWEN3], QWEN3),
        ("llama3.2", [QWEN3, LLAMA], LLAMA),
        ("qwen3-coder", [QWEN3], QWEN3),
        ("qwen3-coder", [QWEN3, model("qwen3-coder:latest")], model("qwen3-coder:latest")),
        ("qwen3-coder", [model("qwen3-coder:480b"), QWEN3], QWEN3),
        ("library/qwen3-coder:30b", [QWEN3], QWEN3),
        ("registry.ollama.ai/library/qwen3-coder:30b", [QWEN3], QWEN3),
        ("hf.co/unsloth/Qwen3-Coder-30B:Q4_K_M", [HUGGING], HUGGING),
        ("hf.co/unsloth/qwen3-coder-30b", [HUGGING], HUGGING),
        ("qwen3-coder:480b", [QWEN3], None),
        ("qwen3", [QWEN3], None),
        ("Qwen3-Coder-30B:Q4_K_M", [HUGGING], None),
        ("", [QWEN3], None),
        ("qwen3-coder", [], None),
    ],
)
def test_find(name, models, found) -> None:
    assert find(name, models) == found


@pytest.mark.parametrize(
    ("asked", "engines", "config", "chosen"),
    [
        # an engine's own name, on whichever engines have it
        ("llama3.2", [[QWEN3], [LLAMA]], PLAIN, [(1, LLAMA)]),
        ("qwen3-coder[1m]", [[QWEN3], [QWEN3]], PLAIN, [(0, QWEN3), (1, QWEN3)]),
        (" qwen3-coder ", [[QWEN3]], PLAIN, [(0, QWEN3)]),
        # an engine's own name wins over the default, even one of Claude's
        ("claude-mini", [[QWEN3, model("claude-mini:latest")]], PLAIN, "claude-mini:latest"),
        # aliases, in any case
        ("fast", [[QWEN3, LLAMA]], ALIASED, [(0, LLAMA)]),
        (
            "claude-haiku",
            [[QWEN3, LLAMA]],
            ModelConfig(aliases={"claude-haiku": "llama3.2"}),
            LLAMA,
        ),
        # the default: configured, else the two known ones, else the only one
        ("claude-opus-4-8", [[LLAMA, QWEN3]], PLAIN, [(0, QWEN3)]),
        ("claude-opus-4-8[1m]", [[LLAMA, QWEN25]], PLAIN, [(0, QWEN25)]),
        ("claude-opus-4-8", [[LLAMA, EMBED]], PLAIN, [(0, LLAMA)]),
        ("anthropic/claude-x", [[LLAMA]], PLAIN, [(0, LLAMA)]),
        ("claude-x", [[QWEN3, LLAMA]], ModelConfig(name="llama3.2"), [(0, LLAMA)]),
        ("claude-x", [[QWEN3, LLAMA]], ModelConfig(name="fast", aliases=ALIASED.aliases), LLAMA),
        # engines of different kinds have different names for their default
        ("claude-x", [[QWEN25], [QWEN3]], PLAIN, [(0, QWEN25), (1, QWEN3)]),
        ("claude-x", [[LLAMA, HUGGING], [QWEN3]], PLAIN, [(1, QWEN3)]),
        # those without the configured default come after those that have it
        ("claude-x", [[QWEN25], [LLAMA]], ModelConfig(name="llama3.2"), [(1, LLAMA), (0, QWEN25)]),
    ],
)
def test_choose(asked, engines, config, chosen) -> None:
    found = choose(asked, engines, config)
    if isinstance(chosen, list):
        assert found == chosen
    else:
        assert found[0][1].name == getattr(chosen, "name", chosen)


@pytest.mark.parametrize(
    ("asked", "models", "config", "status", "message"),
    [
        (
            "gpt-5",
            [QWEN3, EMBED, LLAMA],
            PLAIN,
            404,
            "model: gpt-5 was not found; available: qwen3-coder:30b, llama3.2:latest",
        ),
        (
            "gpt-5",
            [],
            PLAIN,
            404,
            "model: gpt-5 was not found, and no engine has a model that chats; "
            "load a model first, e.g. with: ollama pull gpt-5",
        ),
        (
            "gone",
            [QWEN3],
            ALIASED,
            404,
            "model: gone stands for mixtral, which no engine has; available: qwen3-coder:30b",
        ),
        (
            "claude-x",
            [QWEN3],
            ModelConfig(name="mixtral"),
            404,
            "model: claude-x stands for mixtral, which no engine has; available: qwen3-coder:30b",
        ),
        (
            "claude-x",
            [LLAMA, HUGGING],
            PLAIN,
            404,
            "model: claude-x stands for the default model, which is not set (serve --model NAME); "
            "available: llama3.2:latest, hf.co/unsloth/Qwen3-Coder-30B:Q4_K_M",
        ),
        (
            "nomic-embed-text",
            [QWEN3, EMBED],
            PLAIN,
            400,
            "model: nomic-embed-text cannot chat (it is made for: embedding)",
        ),
    ],
)
def test_what_cannot_be_resolved_is_told(asked, models, config, status, message) -> None:
    with pytest.raises(ApiError) as caught:
        choose(asked, [models], config)
    assert (caught.value.status, caught.value.message) == (status, message)


def test_a_long_list_of_models_is_cut() -> None:
    with pytest.raises(ApiError, match=r"m19:latest and 5 more$"):
        choose("gpt-5", [[model(f"m{n:02}:latest") for n in range(25)]], PLAIN)


@pytest.mark.parametrize("name", ["claude-opus-4-8", "Claude-Haiku-4-5", "anthropic.claude-v2"])
def test_names_of_anthropics_models(name: str) -> None:
    assert is_claude(name)


@pytest.mark.parametrize("name", ["claudette", "qwen3-coder", "my-claude-x"])
def test_other_names(name: str) -> None:
    assert not is_claude(name)


def test_names_are_listed_once_and_only_for_models_that_chat() -> None:
    listed = names([[QWEN3, EMBED], [QWEN3, LLAMA]], ALIASED)
    assert listed == ["qwen3-coder:30b", "llama3.2:latest", "Fast", "gone", *CLAUDE_NAMES]
