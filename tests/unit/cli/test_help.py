"""The help texts, as people see them in a terminal 80 columns wide.

After a change that is meant: ``python -m tests.unit.cli.test_help`` writes them anew.
"""

import os
from pathlib import Path

import pytest

from llmctl.cli.main import run

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "help"
PAGES = {
    "llmctl": ["--help"],
    "up": ["up", "--help"],
    "down": ["down", "--help"],
    "stop": ["stop", "--help"],
    "start": ["start", "--help"],
    "status": ["status", "--help"],
    "serve": ["serve", "--help"],
    "tunnel": ["tunnel", "--help"],
    "ssh": ["ssh", "--help"],
    "logs": ["logs", "--help"],
    "env": ["env", "--help"],
    "claude": ["help", "claude"],
    "health": ["health", "--help"],
    "doctor": ["doctor", "--help"],
    "bench": ["bench", "--help"],
    "stats": ["stats", "--help"],
    "cost": ["cost", "--help"],
    "ui": ["ui", "--help"],
    "offer-list": ["offer", "list", "--help"],
    "instance": ["instance", "--help"],
    "instance-list": ["instance", "list", "--help"],
    "instance-show": ["instance", "show", "--help"],
    "instance-adopt": ["instance", "adopt", "--help"],
    "instance-destroy": ["instance", "destroy", "--help"],
    "instance-trust": ["instance", "trust", "--help"],
    "model": ["model", "--help"],
    "model-list": ["model", "list", "--help"],
    "model-pull": ["model", "pull", "--help"],
    "model-remove": ["model", "remove", "--help"],
    "model-test": ["model", "test", "--help"],
    "profile-list": ["profile", "list", "--help"],
    "profile-show": ["profile", "show", "--help"],
    "auth": ["auth", "--help"],
    "auth-login": ["auth", "login", "--help"],
    "auth-logout": ["auth", "logout", "--help"],
    "auth-status": ["auth", "status", "--help"],
    "token": ["token", "--help"],
    "token-add": ["token", "add", "--help"],
    "token-list": ["token", "list", "--help"],
    "token-remove": ["token", "remove", "--help"],
    "cache": ["cache", "--help"],
    "cache-stats": ["cache", "stats", "--help"],
    "cache-list": ["cache", "list", "--help"],
    "cache-show": ["cache", "show", "--help"],
    "cache-forget": ["cache", "forget", "--help"],
    "cache-clear": ["cache", "clear", "--help"],
    "cache-warm": ["cache", "warm", "--help"],
    "cache-test": ["cache", "test", "--help"],
    "config": ["config", "--help"],
    "config-show": ["config", "show", "--help"],
    "config-path": ["config", "path", "--help"],
    "completion": ["completion", "--help"],
    "help": ["help", "--help"],
    "topic-environment": ["help", "environment"],
    "topic-exit-codes": ["help", "exit-codes"],
    "topic-config": ["help", "config"],
}
SCRIPTS = {"llmctl.bash": "bash", "_llmctl": "zsh", "llmctl.fish": "fish"}


@pytest.mark.parametrize("name", PAGES)
def test_help_is_as_recorded(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run(PAGES[name])
    assert capsys.readouterr().out == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_help_fits_into_80_columns(name):
    lines = (GOLDEN / f"{name}.txt").read_text().splitlines()
    limit = 80 if not name.startswith("topic") else 100
    assert [line for line in lines if len(line) > limit] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_completion_scripts_are_current(name, capsys):
    assert run(["completion", SCRIPTS[name]]) == 0
    assert capsys.readouterr().out == (ROOT / "completions" / name).read_text()


def _write() -> None:
    from contextlib import redirect_stdout

    os.environ |= {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    pages = {GOLDEN / f"{name}.txt": arguments for name, arguments in PAGES.items()}
    scripts = {
        ROOT / "completions" / name: ["completion", shell] for name, shell in SCRIPTS.items()
    }
    for path, arguments in (pages | scripts).items():
        with path.open("w") as file, redirect_stdout(file):
            run(arguments)


if __name__ == "__main__":
    _write()
