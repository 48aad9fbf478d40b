"""``llmctl completion``."""

from typing import Annotated

import typer

from llmctl.cli import candidates, options

COMPLETE = "_LLMCTL_COMPLETE"
"""The variable by which a shell's script asks for candidates; Typer's own name for it."""

# Typer's protocol for fish serves bash as well: the line as it was typed, and a candidate a line
# with its description after a tab. Readline completes only what follows the last colon.
_BASH = """\
_llmctl_completion() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} found
    found=($(_LLMCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \\
        _TYPER_COMPLETE_ARGS="$line" "$1" 2>/dev/null))
    found=("${found[@]%%$'\\t'*}")
    local word=${line##*[[:space:]]}
    if [[ $COMP_WORDBREAKS == *:* ]]; then
        found=("${found[@]#"${word%"${word##*:}"}"}")
    fi
    COMPREPLY=("${found[@]}")
}

complete -o default -F _llmctl_completion llmctl
"""
_ZSH = """\
#compdef llmctl

_llmctl_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _LLMCTL_COMPLETE=complete_zsh llmctl)
}

compdef _llmctl_completion llmctl
"""
_FISH = """\
function __llmctl_complete
    set -l found (env _LLMCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \\
        _TYPER_COMPLETE_ARGS=(commandline -cp) llmctl 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end

complete --command llmctl --no-files --arguments '(__llmctl_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(
    shell: Annotated[
        str,
        typer.Argument(
            metavar="SHELL",
            help="bash, zsh or fish.",
            autocompletion=candidates.one_of(*SCRIPTS),
        ),
    ],
) -> None:
    """Print the completion script of a shell.

    It completes commands, options and the names of instances, models and GPUs
    out of files on this machine: pressing TAB asks nobody.

    [bold]Examples[/bold]
    $ llmctl completion bash > ~/.local/share/bash-completion/completions/llmctl
    $ llmctl completion zsh > ~/.zfunc/_llmctl
    $ llmctl completion fish > ~/.config/fish/completions/llmctl.fish
    """
    from llmctl.core.errors import ConfigError

    if shell not in SCRIPTS:
        raise ConfigError(f"there is no completion for {shell!r}: expected {', '.join(SCRIPTS)}")
    options.put(SCRIPTS[shell])
