"""The variables that make Claude Code behave with a local model."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from llmctl.config.addresses import host_of, is_local
from llmctl.config.schema import Config, TimeoutConfig
from llmctl.config.secrets import Secret
from llmctl.core.errors import ConfigError

DEFAULT_MODEL = "qwen3-coder"
DEFAULT_CONTEXT = 65536
_NO_TOKEN = "llmctl"  # noqa: S105  the client insists on some credential; nobody checks this one
CLIENT_FAMILIES = {
    "OPUS": "claude-opus-4-8",
    "SONNET": "claude-sonnet-5",
    "HAIKU": "claude-haiku-4-5-20251001",
}
"""Families of the client → the name it asks for, so that aliases of the proxy keep their effect."""
_MOST_OUTPUT = 32000
_RESERVED = 20000
"""Most of an answer that the client keeps free for it."""
_COMPACTION = 13000
"""What the client keeps free besides."""
_SUMMARY = 4096
"""Least that is kept for the summary of a conversation, and the request for it."""
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")


class Served(Struct, frozen=True, kw_only=True):
    """What one proxy offers to Claude Code."""

    url: str
    models: dict[str, str]
    """``OPUS``, ``SONNET``, ``HAIKU`` → engine model."""
    context_tokens: int


def assume(config: Config, url: str) -> Served:
    """Say what a proxy with this configuration would most likely offer, without asking."""
    embedded = bool(config.backend) and {"embedded"} == {one.url for one in config.backend}
    own, trained = _embedded_model(config) if embedded else (DEFAULT_MODEL, None)
    wanted = config.model.num_ctx or DEFAULT_CONTEXT
    return Served(
        url=url,
        models=dict.fromkeys(CLIENT_FAMILIES, config.model.name or own),
        context_tokens=min(wanted, trained or wanted),
    )


def _embedded_model(config: Config) -> tuple[str, int | None]:
    """Return the name of the model that the embedded engine serves, and the context it knows."""
    from llmctl.backend.embedded.gguf import read_gguf
    from llmctl.backend.embedded.weights import SMOLLM2, SMOLLM2_CONTEXT

    if config.embedded.gguf is None:
        return Path(SMOLLM2.file_name).stem, SMOLLM2_CONTEXT
    path = Path(config.embedded.gguf).expanduser()
    with contextlib.suppress(ConfigError):
        return path.stem, read_gguf(path).context_length
    return path.stem, None


def claude_environment(
    served: Served,
    *,
    token: Secret | None,
    timeouts: TimeoutConfig,
    environ: Mapping[str, str],
) -> dict[str, str]:
    """Return every variable for the client, in a fixed order; an empty value unsets.

    ``environ`` is the client's environment to be: where it names an HTTP proxy, a proxy of ours on
    this machine is exempted from it.
    """
    model = served.models["SONNET"]
    return {
        "ANTHROPIC_BASE_URL": served.url,
        "ANTHROPIC_AUTH_TOKEN": token.reveal() if token else _NO_TOKEN,
        # with a key as well the client would send both, and ask the user to approve the key
        "ANTHROPIC_API_KEY": "",
        "ANTHROPIC_MODEL": model,
        **{f"ANTHROPIC_DEFAULT_{family}_MODEL": name for family, name in served.models.items()},
        "CLAUDE_CODE_SUBAGENT_MODEL": model,
        **_context(served.context_tokens),
        **_patience(timeouts),
        # both texts change with every request and would cost the engine its prefix cache
        "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER": "off",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_DISABLE_FEEDBACK_SURVEY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_FEEDBACK_COMMAND": "1",
        "DISABLE_TELEMETRY": "1",
        **_exemption(served.url, environ),
    }


def _context(tokens: int) -> dict[str, str]:
    """Return the window, which the client takes for 200,000 tokens unless told.

    Both variables are needed for compaction in time, and they are not the window itself: the client
    (2.1.197, measured) compacts at their value less the longest answer, of which it counts 20,000
    at most, less 13,000. With the window itself it would compact at 36,000 of 65,536 tokens, and on
    every turn below 33,000. What is left above the threshold is for the summary.
    """
    most_output = min(_MOST_OUTPUT, max(tokens // 4, 1))
    threshold = tokens - max(min(_SUMMARY, tokens // 2), tokens // 8)
    window = threshold + min(most_output, _RESERVED) + _COMPACTION
    return {
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(window),
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW": str(window),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(most_output),
    }


def _patience(timeouts: TimeoutConfig) -> dict[str, str]:
    """Return limits as long as ours: by default the client hangs up after 300 silent seconds."""
    longest = str(int(max(timeouts.first_token_s, timeouts.idle_s) * 1000))
    return {
        "API_TIMEOUT_MS": longest,
        "API_FORCE_IDLE_TIMEOUT": "0",
        "CLAUDE_STREAM_IDLE_TIMEOUT_MS": longest,
    }


def _exemption(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Keep the client from sending loopback requests to an HTTP proxy.

    Both spellings: the lower-case one wins in the client where both are set.
    """
    if not any(environ.get(name) for name in _PROXY_VARIABLES) or not is_local(host_of(url)):
        return {}
    present = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = [name for name in present.split(",") if name]
    names += [name for name in ("127.0.0.1", "localhost", "::1") if name not in names]
    value = ",".join(names)
    return {"NO_PROXY": value, "no_proxy": value}
