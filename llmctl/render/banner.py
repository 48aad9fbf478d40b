"""What ``llmctl serve`` says when it is ready: what it serves and what to type next."""

import shlex

import msgspec

from llmctl.core.model import ServeBanner
from llmctl.render.json import document
from llmctl.render.shells import packed_exports
from llmctl.render.tables import table

_WIDTH = 96
_TOKEN = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105  the variable's name
_NO_AUTH = """\
WARNING: no token is asked for. Every program and every user of this machine can use the model
through this proxy, and read and write its usage record. Leave --no-auth out to lock it.

"""


def banner_text(banner: ServeBanner) -> str:
    """Return the lines for people; commands in it can be pasted as they are."""
    exports = packed_exports(_words(banner), width=_WIDTH - 2)
    parts = [
        f"\nllmctl {banner.version} serves {banner.url}\n\n",
        _indented(table(_facts(banner))),
        "" if banner.auth else f"\n{_NO_AUTH.rstrip()}\n",
        f"\nClaude Code, in another terminal:\n\n  {banner.command} claude\n",
        f"\nor with these variables, which `{banner.command} env` prints for other shells too:\n\n",
        _indented("\n".join(exports) + "\n"),
        "\nor without it:\n\n",
        _indented(curl_command(banner) + "\n"),
    ]
    return "".join(parts)


def banner_document(banner: ServeBanner) -> str:
    """Return the same as one JSON document; the token is in it only if it is new."""
    environment = dict(banner.environment)
    if banner.token:
        environment[_TOKEN] = banner.token
    elif banner.auth:
        environment.pop(_TOKEN, None)
    return document(msgspec.structs.replace(banner, environment=environment))


def curl_command(banner: ServeBanner) -> str:
    """Return one line for sh that asks the model to say hello."""
    request = {
        "model": banner.model or "claude-sonnet-5",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": "Say hello"}],
    }
    body = msgspec.json.encode(request).decode()
    key = f" -H x-api-key:{_token_word(banner)}" if banner.auth else ""
    return (
        f"curl -sS {shlex.quote(banner.url + '/v1/messages')}{key}"
        f" -H content-type:application/json -d {shlex.quote(body)}"
    )


def _facts(banner: ServeBanner) -> list[list[str]]:
    rows = [
        ["backend", f"{backend.name}, {_state(backend.healthy, backend.detail)}"]
        for backend in banner.backends
    ]
    rows.append(["model", _model(banner)])
    words = "" if banner.semantic == "off" else f", in other words: {banner.semantic}"
    rows.append(["cache", f"{banner.cache} {banner.cache_location}".strip() + words])
    if banner.token:
        rows.append(["token", f"{banner.token} (new, shown once; `llmctl env` prints it again)"])
    return rows


def _state(healthy: bool, detail: str) -> str:
    if healthy:
        return "ready"
    return f"not ready: {detail}" if detail else "not ready"


def _model(banner: ServeBanner) -> str:
    if banner.model is None:
        return "none yet; requests are answered as soon as a backend is ready"
    if banner.context_tokens is None:
        return banner.model
    return f"{banner.model}, {banner.context_tokens:,} tokens of context"


def _words(banner: ServeBanner) -> dict[str, str]:
    """Return the variables as shell words, with the token as a substitution unless it is new."""
    words = {name: shlex.quote(value) for name, value in banner.environment.items()}
    if banner.auth:
        words[_TOKEN] = _token_word(banner)
    return words


def _token_word(banner: ServeBanner) -> str:
    return shlex.quote(banner.token) if banner.token else f'"{banner.token_command}"'


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
