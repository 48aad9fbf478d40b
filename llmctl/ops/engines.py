"""The engines of a configuration, as everybody who asks them makes them."""

from collections.abc import Mapping

from llmctl.backend.base import Engine
from llmctl.backend.http import Connector
from llmctl.backend.ollama import OllamaEngine
from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import TimeoutConfig
from llmctl.config.secrets import engine_key_from_environment


def http_engine(
    backend: str,
    environ: Mapping[str, str],
    *,
    timeouts: TimeoutConfig,
    connector: Connector | None = None,
) -> Engine | None:
    """Return the engine at ``ollama:URL`` or ``openai:URL``, not asked anything yet.

    None for ``embedded``, which is a process of whoever runs it. Raises ``AuthError`` for a key in
    the environment that cannot be sent.
    """
    kind, _, url = backend.partition(":")
    if kind == "ollama":
        return OllamaEngine(url, timeouts=timeouts, connector=connector)
    if kind == "openai":
        key = engine_key_from_environment(environ)
        return OpenAIEngine(url, timeouts=timeouts, api_key=key.reveal() if key else None)
    return None
