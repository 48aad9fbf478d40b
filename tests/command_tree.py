"""The commands as the program has them: their help in parts, their options, their examples."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.main import get_command

from llmctl.cli.app import app

PROGRAM = "llmctl"
_EXAMPLES = "[bold]Examples[/bold]"


@dataclass(frozen=True)
class Leaf:
    """A command that does something."""

    path: tuple[str, ...]
    """``("config", "set")``."""
    command: Any

    @property
    def name(self) -> str:
        return " ".join((PROGRAM, *self.path))

    @property
    def paragraphs(self) -> list[str]:
        """What it says of itself, the first being one line, without the examples."""
        text = (self.command.help or "").partition(_EXAMPLES)[0]
        return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]

    @property
    def examples(self) -> list[str]:
        """Lines of shell."""
        text = (self.command.help or "").partition(_EXAMPLES)[2]
        return [line.strip().removeprefix("$ ") for line in text.splitlines() if line.strip()]

    @property
    def parameters(self) -> list[Any]:
        return [each for each in self.command.params if not getattr(each, "hidden", False)]


def leaves() -> Iterator[Leaf]:
    """Yield every command, groups being gone through in the order of the help."""
    yield from _below((), get_command(app))


def _below(path: tuple[str, ...], command: Any) -> Iterator[Leaf]:
    commands = getattr(command, "commands", None)
    if commands is None:
        yield Leaf(path, command)
        return
    for name, each in commands.items():
        if not each.hidden:
            yield from _below((*path, name), each)
