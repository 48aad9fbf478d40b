"""``llmctl help``: a command's help, or a topic that belongs to no single command."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from llmctl.cli import options

_EXIT_CODES = """\
0    done, or there was nothing to do
1    failed, as expected failures go; or you answered no
2    wrong usage or configuration, or a confirmation was needed and there was no terminal
3    checked and found unhealthy
4    a credential is missing, unreadable or refused
5    what was named does not exist
6    an engine, the proxy or a provider failed; trying again may help
7    it did not happen within the time allowed
8    a paid instance may still be running
70   a bug in llmctl; the message names the file with the traceback
130  Ctrl-C
"""

_ENVIRONMENT = """\
Every setting has a variable: LLMCTL_ and its key, as in LLMCTL_SERVE_PORT for serve.port.
`llmctl help config` lists the keys. An empty variable counts as not set.

Read beside them, because operators have them already (LLMCTL_... beats them):
  OLLAMA_HOST      address of the default engine
  ANTHROPIC_MODEL  model.name, unless it is a name of Anthropic's own
  API_PORT         serve.port
  REDIS_URL        redis.url, password included
  REDIS_HOST, REDIS_PORT, REDIS_PASSWORD
                   the same in parts

Not settings:
  LLMCTL_AUTH_TOKEN   the token of the proxy, instead of the one it makes itself
  LLMCTL_BACKEND_API_KEY
                      the key that engines behind openai: ask for (vLLM's --api-key)
  VAST_API_KEY, RUNPOD_API_KEY
                      keys of the markets, before what `llmctl auth login` kept
  VAST_URL, RUNPOD_API_BASE_URL
                      other addresses of their APIs
  LLMCTL_CONFIG       path of the configuration file
  LLMCTL_HOME         one directory for configuration, data, cache, log and state
  LLMCTL_CLAUDE       the Claude Code client that `llmctl claude` starts
  LLMCTL_DEBUG=1      show tracebacks
  ANTHROPIC_BASE_URL, ANTHROPIC_AUTH_TOKEN
                      where `env`, `claude`, `health` and `stats` look for the proxy, unless it
                      is Anthropic's own address
  VISUAL, EDITOR      what `config edit` opens; else vi
  NO_COLOR, TERM=dumb, FORCE_COLOR
                      colours off, off, on
"""


_CONFIG = """\
Settings come from, strongest first: flags, LLMCTL_ variables, customary variables
(`llmctl help environment`), the file, defaults. `llmctl config show --origin` tells which.

The file is TOML, at the place `llmctl config path` prints. Keys it does not know are errors.
Durations may be written "24h" or "1h30m", sizes "1GiB". Engines are tables, best first:

  [serve]
  port = 8080

  [model]
  name = "qwen3-coder:30b"
  num_ctx = 65536

  [[backend]]
  url = "ollama:http://10.0.0.5:11434"

  [[backend]]
  url = "openai:http://10.0.0.6:8000"

  [cache]
  ttl_s = "24h"

Every setting with its default:

"""


def _known(ctx: typer.Context, incomplete: str) -> list[str]:
    commands = getattr(ctx.find_root().command, "commands", {})
    return [name for name in (*commands, *_TOPICS) if name.startswith(incomplete)]


def show_help(
    ctx: typer.Context,
    topic: Annotated[
        str | None,
        typer.Argument(
            metavar="TOPIC",
            help="A command, or environment, exit-codes, config.",
            autocompletion=_known,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Explain a command or a topic.

    Topics: environment, exit-codes, config.

    [bold]Examples[/bold]
    $ llmctl help serve
    $ llmctl help environment
    $ llmctl help exit-codes
    """
    from llmctl.core.errors import NotFound

    root = ctx.find_root()
    commands: dict[str, Any] = getattr(root.command, "commands", {})
    if topic is None:
        options.put(root.get_help())
    elif topic in _TOPICS:
        options.put(_TOPICS[topic]())
    elif topic in commands:
        with typer.Context(commands[topic], info_name=topic, parent=root) as context:
            options.put(context.get_help())
    else:
        known = ", ".join(dict.fromkeys([*commands, *_TOPICS]))
        raise NotFound(f"there is no help on {topic!r}", hint=f"one of {known}")


def _config() -> str:
    from llmctl.config.schema import Config
    from llmctl.render.settings import settings_table

    listed = settings_table(Config(), None)
    return _CONFIG + "".join(f"  {line}\n" for line in listed.splitlines())


_TOPICS: dict[str, Callable[[], str]] = {
    "environment": lambda: _ENVIRONMENT,
    "exit-codes": lambda: _EXIT_CODES,
    "config": _config,
}
