import io
import json
import logging
import stat

import pytest

from llmctl import __version__
from llmctl.cli.main import run
from llmctl.core.errors import ExitCode


def test_version(capsys):
    assert run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"llmctl {__version__}\n"


def test_no_arguments_is_help_and_misuse(capsys):
    assert run([]) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert "Usage: llmctl" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["sere"], "no such command 'sere'. Did you mean 'serve'?", "llmctl --help"),
        (["serve", "--prot", "1"], "no such option: --prot", "llmctl serve --help"),
        (["serve", "--port", "x"], "invalid value for '--port'", "llmctl serve --help"),
        (["config", "shew"], "no such command 'shew'", "llmctl config --help"),
        (["completion"], "missing argument 'SHELL'", "llmctl completion --help"),
    ],
)
def test_misuse_looks_like_every_other_error(capsys, arguments, message, hint):
    assert run(arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {message}")
    assert err.endswith(f"\n\nhint: {hint}\n")
    assert out == ""


def test_expected_failures_carry_their_exit_code(capsys):
    assert run(["help", "nothing"]) == ExitCode.NOT_FOUND
    assert capsys.readouterr().err.startswith("error: there is no help on 'nothing'\n\nhint: ")


@pytest.mark.parametrize("arguments", [["config", "show", "--json"], ["config", "--json", "show"]])
def test_errors_are_documents_where_json_is_asked_for(capsys, monkeypatch, arguments):
    monkeypatch.setenv("API_PORT", "http")
    assert run(arguments) == ExitCode.USAGE
    out, err = capsys.readouterr()
    assert json.loads(err)["error"]["code"] == "config"
    assert out == ""


def test_json_after_claude_is_for_claude(capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert run(["claude", "--json"]) == ExitCode.NOT_FOUND
    assert capsys.readouterr().err == (
        "error: there is no claude command on PATH\n\n"
        "hint: npm install -g @anthropic-ai/claude-code\n"
    )


class Closed(io.StringIO):
    """stdout of which nobody reads the other end."""

    def write(self, _text):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_closed_pipe_is_quiet(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(SystemExit) as ended:
        run(["config", "path"])
    assert ended.value.code == ExitCode.FAILED
    assert capsys.readouterr().err == ""


class Interrupted(io.StringIO):
    """stdout that is written to when Ctrl-C comes."""

    def write(self, _text):
        raise KeyboardInterrupt


def test_ctrl_c_is_quiet(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout", Interrupted())
    assert run(["config", "path"]) == ExitCode.INTERRUPTED
    assert "Traceback" not in capsys.readouterr().err


class Broken(io.StringIO):
    """stdout that fails in a way nobody expects."""

    def write(self, _text):
        raise RuntimeError("out of paper, token llmctl_" + "a" * 43)


@pytest.fixture
def broken(monkeypatch):
    """Run a command whose output fails."""

    def broken(*arguments):
        monkeypatch.setattr("sys.stdout", Broken())
        return run(list(arguments))

    return broken


class TestBugs:
    def test_one_line_and_a_file(self, capsys, broken, llmctl_home):
        assert broken("config", "path") == ExitCode.BUG
        err = capsys.readouterr().err
        [crash] = (llmctl_home / "log").iterdir()
        assert err == (
            "error: a bug in llmctl: RuntimeError: out of paper, token ****\n"
            f"\nhint: the traceback is in {crash}\n"
        )
        assert stat.S_IMODE(crash.stat().st_mode) == 0o600
        text = crash.read_text()
        assert "Traceback (most recent call last)" in text
        assert "llmctl_aaa" not in text

    def test_the_traceback_for_those_who_ask(self, capsys, broken, monkeypatch):
        monkeypatch.setenv("LLMCTL_DEBUG", "1")
        assert broken("config", "path") == ExitCode.BUG
        err = capsys.readouterr().err
        assert "Traceback (most recent call last)" in err
        assert "llmctl_aaa" not in err

    def test_very_verbose_asks_too(self, capsys, broken):
        level = logging.getLogger("llmctl").level
        try:
            assert broken("config", "show", "-vv") == ExitCode.BUG
        finally:
            logging.getLogger("llmctl").setLevel(level)
        assert "Traceback (most recent call last)" in capsys.readouterr().err

    def test_where_no_file_can_be_written(self, capsys, broken, llmctl_home):
        llmctl_home.touch()
        assert broken("config", "path") == ExitCode.BUG
        assert "hint: LLMCTL_DEBUG=1 shows the traceback" in capsys.readouterr().err
