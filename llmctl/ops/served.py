"""The engines of the proxy that runs: flags may have given it others than the configuration."""

import contextlib
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from llmctl.config import addresses
from llmctl.config.load import Loaded
from llmctl.config.schema import BackendConfig
from llmctl.core.errors import LlmctlError
from llmctl.core.model import Health, PartHealth
from llmctl.ops.env import Served
from llmctl.ops.health import ask
from llmctl.ops.running import RunningProxy, ask_what_is_served, find_address, find_token


class Running(Struct, frozen=True, kw_only=True):
    """What the proxy that runs says of itself."""

    health: Health
    offered: Served | None = None
    """None where it offers no model."""


def as_served(loaded: Loaded, running: Running) -> Loaded:
    """Return the configuration with the engines of a running proxy that anybody may ask.

    And with its model and window: a flag may have given it others than the configuration.
    """
    asked = [each for each in running.health.backends if not _is_inside(each)]
    model, offered = loaded.config.model, running.offered
    if offered and any(offered.models["SONNET"] in each.models for each in asked):
        model = msgspec.structs.replace(
            model, name=offered.models["SONNET"], num_ctx=offered.context_tokens
        )
    config = msgspec.structs.replace(
        loaded.config, backend=[BackendConfig(url=each.name) for each in asked], model=model
    )
    return msgspec.structs.replace(loaded, config=config)


def ask_running(loaded: Loaded, environ: Mapping[str, str]) -> Running | None:
    """Ask the proxy that runs for its engines; None where none answers. Blocks."""
    address = find_address(loaded, environ)
    with (
        contextlib.suppress(LlmctlError),
        RunningProxy(address, find_token(address, environ)) as proxy,
    ):
        if (health := ask(proxy).health) is None:
            return None
        offered = None
        with contextlib.suppress(LlmctlError):
            offered = ask_what_is_served(proxy)
        return Running(health=health, offered=offered)
    return None


def is_embedded(part: PartHealth) -> bool:
    """Tell the engine that is a process of the proxy's own."""
    return part.name.partition(":")[0] == "embedded"


def _is_inside(part: PartHealth) -> bool:
    """Tell an engine behind the proxy alone: its own, or one at the end of a tunnel."""
    host = addresses.host_of(part.name.partition(":")[2])
    return is_embedded(part) or host.endswith(".localhost")
