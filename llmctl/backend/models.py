"""From the model name a client asks for to a model an engine has."""

import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

from llmctl.config.schema import ModelConfig
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError, invalid_request

DEFAULTS = ("qwen3-coder", "qwen2.5-coder:7b")
"""Default models where none is configured, best first."""
CLAUDE_NAMES = ("claude-opus-4-8", "claude-sonnet-5", "claude-haiku-4-5-20251001")
"""Names Claude Code asks for by itself; any other ``claude-*`` is answered as well."""

_SUFFIX = re.compile(r"\[1m\]$", re.IGNORECASE)
"""Claude Code's mark for a window of a million tokens."""
_MAX_SHOWN = 20

Models = Sequence[EngineModel]


def choose(
    asked: str, engines: Sequence[Models], config: ModelConfig
) -> list[tuple[int, EngineModel]]:
    """Return who can answer for a name, best first: positions in ``engines`` with their model.

    An engine's own model name wins over an alias, an alias over the default that stands for every
    ``claude-*``. Engines without the configured default come last, with the default they would
    have by themselves. Raises ``ApiError`` 404 with what is available, 400 for models that cannot
    chat.
    """
    name = _SUFFIX.sub("", asked.strip())
    exact = _having(name, engines)
    if exact:
        return _chatting(name, exact)
    alias = _alias(name, config)
    if alias is not None:
        found = _chatting(alias, _having(alias, engines))
        return found or _fail(
            f"model: {asked} stands for {alias}, which no engine has", alias, engines
        )
    if is_claude(name):
        return _default(asked, engines, config)
    return _fail(f"model: {asked} was not found", name, engines)


def is_claude(name: str) -> bool:
    """Tell names of Anthropic's models, which the default model answers for."""
    return name.lower().startswith(("claude-", "anthropic"))


def find(name: str, models: Models) -> EngineModel | None:
    """Return the model of that name, in any case; without a tag ``:latest``, else the first tag."""
    wanted = _canonical(name)
    found = {_canonical(model.name): model for model in models}
    if wanted not in found and not _has_tag(wanted):
        tagged = sorted(known for known in found if known.rpartition(":")[0] == wanted)
        latest = f"{wanted}:latest"
        wanted = latest if latest in found else (tagged or [wanted])[0]
    return found.get(wanted)


def only_embedding(models: Models) -> EngineModel | None:
    """Return the first model that embeds; one that chats too would be a big one to embed with."""
    able = [model for model in models if "embedding" in model.capabilities]
    return next((model for model in able if not _chats(model)), able[0] if able else None)


def names(engines: Iterable[Models], config: ModelConfig) -> list[str]:
    """Return what may be asked for, each once: models that chat, aliases, Claude's names."""
    chatting = [model.name for models in engines for model in models if _chats(model)]
    return list(dict.fromkeys([*chatting, *config.aliases, *CLAUDE_NAMES]))


def _having(name: str, engines: Sequence[Models]) -> list[tuple[int, EngineModel]]:
    found = ((number, find(name, models)) for number, models in enumerate(engines))
    return [(number, model) for number, model in found if model is not None]


def _chatting(name: str, found: list[tuple[int, EngineModel]]) -> list[tuple[int, EngineModel]]:
    able = [(number, model) for number, model in found if _chats(model)]
    if found and not able:
        has = ", ".join(sorted(found[0][1].capabilities))
        raise invalid_request(f"model: {name} cannot chat (it is made for: {has})")
    return able


def _alias(name: str, config: ModelConfig) -> str | None:
    by_name = {alias.lower(): target for alias, target in config.aliases.items()}
    return by_name.get(name.lower())


def _default(
    asked: str, engines: Sequence[Models], config: ModelConfig
) -> list[tuple[int, EngineModel]]:
    own = [(number, _own_default(models)) for number, models in enumerate(engines)]
    fallbacks = [(number, model) for number, model in own if model is not None]
    if config.name is None:
        return fallbacks or _fail(
            f"model: {asked} stands for the default model, which is not set (serve --model NAME)",
            DEFAULTS[0],
            engines,
        )
    name = _alias(config.name, config) or config.name
    configured = _chatting(name, _having(name, engines))
    if not configured:
        _fail(f"model: {asked} stands for {name}, which no engine has", name, engines)
    numbers = {number for number, _ in configured}
    return configured + [one for one in fallbacks if one[0] not in numbers]


def _own_default(models: Models) -> EngineModel | None:
    able = [model for model in models if _chats(model)]
    for name in DEFAULTS:
        if (model := find(name, able)) is not None:
            return model
    return able[0] if len(able) == 1 else None


def _chats(model: EngineModel) -> bool:
    return "completion" in model.capabilities


def _fail(problem: str, wanted: str, engines: Sequence[Models]) -> NoReturn:
    able = [model.name for models in engines for model in models if _chats(model)]
    available = list(dict.fromkeys(able))
    if not available:
        hint = f"load a model first, e.g. with: ollama pull {wanted}"
        raise ApiError(404, f"{problem}, and no engine has a model that chats; {hint}")
    shown = ", ".join(available[:_MAX_SHOWN])
    more = len(available) - _MAX_SHOWN
    raise ApiError(
        404, f"{problem}; available: {shown}" + (f" and {more} more" if more > 0 else "")
    )


def _canonical(name: str) -> str:
    """Return a name in the form in which two names of one model are equal."""
    return name.lower().removeprefix("registry.ollama.ai/").removeprefix("library/")


def _has_tag(name: str) -> bool:
    return ":" in name.rpartition("/")[2]
