"""TAB in real shells, and what it may read for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmctl.cli import candidates
from llmctl.core.paths import find_paths
from llmctl.core.rental import Phase
from tests.rentals import rent

SCRIPTS = Path(__file__).parents[3] / "completions"


@pytest.fixture(autouse=True)
def names():
    """Two instances on record, one that is gone, and models and places seen lately."""
    rent("main", instance_id="123456", model="qwen3-coder:30b")
    rent("spare", instance_id="777", model="qwen3-coder:480b")
    rent("old", instance_id="1", model="gone:1b", phase=Phase.GONE)
    candidates.remember("models", ["gpt-oss:20b", "qwen3-coder:30b"])
    candidates.remember("places", ["NO", "US"])


@pytest.fixture
def path(tmp_path):
    """A PATH on which ``llmctl`` is this one."""
    command = tmp_path / "bin" / "llmctl"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmctl "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


CASES = {
    "llmctl mod": ["model"],
    "llmctl down ": ["main", "spare"],
    "llmctl down m": ["main"],
    "llmctl instance show v": ["vast:123456", "vast:777"],
    "llmctl instance show vast:1": ["vast:123456"],
    "llmctl model test ": ["gpt-oss:20b", "qwen3-coder:30b", "qwen3-coder:480b"],
    "llmctl model test qwen3-coder:4": ["qwen3-coder:480b"],
    "llmctl model test -i sp": ["spare"],
    "llmctl up --gpu h100-s": ["h100-sxm"],
    "llmctl up --region ": ["NO", "US"],
    "llmctl up --profile f": ["fast"],
    "llmctl stats --by h": ["hour"],
    "llmctl config set serve.po": ["serve.port"],
    "llmctl help exit": ["exit-codes"],
}


@pytest.mark.parametrize("line", CASES)
def test_bash(line, path):
    """As readline does it: candidates replace what follows the last colon."""
    script = f"""
        source '{SCRIPTS / "llmctl.bash"}'
        COMP_LINE=$1 COMP_POINT=${{#1}}
        COMP_WORDBREAKS=$' \\t\\n"><=;|&(:'
        _llmctl_completion llmctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", line],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    word = line.rpartition(" ")[2]
    head = word[: word.rindex(":") + 1] if ":" in word else ""
    completed = sorted(head + rest for rest in found.stdout.splitlines())
    assert (completed, found.stderr) == (CASES[line], "")


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
@pytest.mark.parametrize("line", ["llmctl mod", "llmctl instance show vast:1", "llmctl down "])
def test_fish(line, path):
    script = f"source '{SCRIPTS / 'llmctl.fish'}'; complete -C '{line}'"
    found = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert sorted(row.partition("\t")[0] for row in found.stdout.splitlines()) == CASES[line]


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh here")
@pytest.mark.parametrize("line", ["llmctl mod", "llmctl instance show vast:1"])
def test_zsh(line, path, tmp_path):
    """In a terminal of zsh's own making: what TAB leaves on the line is printed."""
    script = f"""
        autoload -Uz compinit && compinit -u -d '{tmp_path}/dump'
        source '{SCRIPTS / "_llmctl"}'
        show() {{ print -r -- "<$BUFFER>"; exit }}
        zle -N show; bindkey '^X' show
        PS1= ; unsetopt zle_bracketed_paste 2>/dev/null
    """
    (tmp_path / ".zshrc").write_text(script)
    typing = f"""
        zmodload zsh/zpty
        export ZDOTDIR='{tmp_path}'
        zpty shell 'zsh -i'
        zpty -w -n shell $'{line}\\t\\x18'
        while zpty -r shell piece; do print -r -- "$piece"; done
    """
    found = subprocess.run(
        ["zsh", "-f", "-c", typing],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, "PATH": path, "TERM": "dumb"},
    )
    (completed,) = CASES[line]
    start = line.rpartition(" ")[0]
    assert f"<{start} {completed}".replace(":", "\\:") in found.stdout.replace(":", "\\:").replace(
        "\\\\:", "\\:"
    )


def test_tab_opens_no_connection_and_writes_nothing(path, tmp_path, monkeypatch):
    """Beside the state and the names no file of ours is touched, and no socket made."""
    before = {file: file.stat().st_mtime_ns for file in find_paths(os.environ).state.rglob("*.db")}
    code = (
        "import sys, socket\n"
        "def refuse(*_, **__): raise AssertionError('TAB asked the network')\n"
        "socket.socket.connect = refuse\n"
        "from llmctl.cli.main import run\n"
        "run([])\n"
    )
    for line in CASES:
        found = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "_LLMCTL_COMPLETE": "complete_fish",
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
                "_TYPER_COMPLETE_ARGS": line,
            },
        )
        assert (found.returncode, found.stderr) == (0, "")
        assert sorted(row.partition("\t")[0] for row in found.stdout.splitlines()) == CASES[line]
    after = {file: file.stat().st_mtime_ns for file in before}
    assert after == before


def test_files_that_cannot_be_read_complete_nothing():
    find_paths(os.environ).rentals_file.write_bytes(b"no database " * 1000)
    assert candidates.instances("") == []
    assert candidates.models("g") == ["gpt-oss:20b"]
    find_paths(os.environ).config.mkdir()
    find_paths(os.environ).config_file.write_text("[serve\n")
    assert candidates.profiles("") == []
