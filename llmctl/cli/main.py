"""The edge: runs the command line, and turns whatever failed into text and an exit code."""

import logging
import os
import sys
from typing import TYPE_CHECKING

import typer

# not exported officially; the Typer pin and the tests of completions/ watch it
from typer.completion import completion_init  # type: ignore[attr-defined]

from llmctl.core.errors import ConfigError, ExitCode, LlmctlError

if TYPE_CHECKING:
    from pathlib import Path


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors go to stderr."""
    from llmctl.cli.app import app
    from llmctl.cli.commands.completion import COMPLETE

    as_json = _wants_json(arguments)
    # the command line of httpx's own brings in click, rich and pygments: 45 ms at each import of it
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    if COMPLETE in os.environ:
        _complete()
    try:
        # not standalone: usage errors come to us and take the same form as all others
        outcome = app(arguments, prog_name="llmctl", standalone_mode=False)
    except LlmctlError as error:
        return _report(error, as_json=as_json)
    except typer.TyperException as misuse:
        if not misuse.format_message():  # no arguments: the help has been printed
            return ExitCode.USAGE
        return _report(_usage(misuse), as_json=as_json)
    except Exception as bug:  # noqa: BLE001  the edge: everything else is our own fault
        return _report(_crash(bug), as_json=as_json)
    return outcome if isinstance(outcome, int) else ExitCode.OK


def _complete() -> None:
    """Let Typer answer the shell, and end.

    Without rich, which Typer imports to take markup out of descriptions, for 70 ms at each TAB.
    """
    from llmctl.cli.app import app

    completion_init()
    rich = sys.modules.get("rich")
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        app([], prog_name="llmctl")
    finally:
        sys.modules.pop("rich")
        if rich is not None:
            sys.modules["rich"] = rich


def _wants_json(arguments: list[str]) -> bool:
    """Whether errors should be JSON; what follows ``claude`` or ``--`` is not ours to read."""
    if arguments[:1] == ["claude"]:
        return False
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in ours


def _usage(misuse: typer.TyperException) -> LlmctlError:
    context = getattr(misuse, "ctx", None)
    path = context.command_path if context is not None else "llmctl"
    message = misuse.format_message().rstrip(".")
    return ConfigError(message[:1].lower() + message[1:], hint=f"{path} --help")


class _Bug(LlmctlError):
    code = "bug"
    exit_code = ExitCode.BUG


def _crash(bug: Exception) -> LlmctlError:
    """Keep the traceback in a file, and show it to those who asked for it."""
    from traceback import format_exception

    from llmctl.core.logs import protect_environment, redact

    protect_environment(os.environ)
    trace = redact("".join(format_exception(bug)))
    if os.environ.get("LLMCTL_DEBUG") == "1" or logging.getLogger("llmctl").level == logging.DEBUG:
        sys.stderr.write(trace)
    where = _keep(trace)
    hint = f"the traceback is in {where}" if where else "LLMCTL_DEBUG=1 shows the traceback"
    return _Bug(redact(f"a bug in llmctl: {type(bug).__name__}: {bug}"), hint=hint)


def _keep(trace: str) -> "Path | None":
    from datetime import UTC, datetime

    from llmctl import __version__
    from llmctl.core.paths import find_paths, make_private

    now = datetime.now(UTC)
    path = find_paths(os.environ).log / f"crash-{now:%Y%m%dT%H%M%S.%f}Z.txt"
    try:
        make_private(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(f"llmctl {__version__}, Python {sys.version}\n\n{trace}")
    except OSError:
        return None
    return path


def _report(error: LlmctlError, *, as_json: bool) -> int:
    from llmctl.render.errors import error_document, error_text, wants_colour

    if as_json:
        text = error_document(error)
    else:
        text = error_text(error, colour=wants_colour(sys.stderr, os.environ))
    sys.stderr.write(text)
    return error.exit_code
