"""``llmctl completion``."""

from typing import Annotated

import typer

# not exported officially; the Typer pin and the tests of completions/ watch it
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from llmctl.cli import options

COMPLETE = "_LLMCTL_COMPLETE"
"""The variable by which a shell's script asks for candidates; Typer's own name for it."""
SHELLS = ("bash", "zsh", "fish")


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell.

    [bold]Examples[/bold]
    $ llmctl completion bash > ~/.local/share/bash-completion/completions/llmctl
    $ llmctl completion zsh > ~/.zfunc/_llmctl
    $ llmctl completion fish > ~/.config/fish/completions/llmctl.fish
    """
    from llmctl.core.errors import ConfigError

    if shell not in SHELLS:
        raise ConfigError(f"there is no completion for {shell!r}: expected {', '.join(SHELLS)}")
    script = get_completion_script(prog_name="llmctl", complete_var=COMPLETE, shell=shell)
    options.put(script + "\n")
