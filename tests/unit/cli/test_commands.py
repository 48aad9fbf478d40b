import json
import logging

import pytest

from llmctl.cli.commands.claude import PassThrough
from llmctl.cli.main import run
from llmctl.config.names import FLAGS
from llmctl.core.errors import ExitCode


@pytest.fixture(autouse=True)
def loggers():
    """Commands set up logging; leave the loggers as they were."""
    root, ours = logging.getLogger(), logging.getLogger("llmctl")
    before = root.level, ours.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]


@pytest.fixture
def output(capsys):
    """Run a command that succeeds and return what it wrote to stdout."""

    def output(*arguments):
        assert run(list(arguments)) == ExitCode.OK
        return capsys.readouterr().out

    return output


def words(text):
    return [line.split() for line in text.splitlines()]


class TestConfig:
    def test_show(self, output, monkeypatch):
        monkeypatch.setenv("LLMCTL_SERVE_PORT", "9000")
        assert ["serve.port", "9000"] in words(output("config", "show"))
        with_origin = words(output("config", "show", "--origin"))
        assert ["serve.port", "9000", "LLMCTL_SERVE_PORT"] in with_origin

    def test_show_as_json(self, output):
        assert json.loads(output("config", "show", "--json"))["serve"]["port"] == 8000
        by_key = json.loads(output("config", "show", "--origin", "--json"))
        assert by_key["serve.port"] == {"value": 8000, "origin": "default"}

    def test_show_another_file(self, output, tmp_path):
        path = tmp_path / "other.toml"
        path.write_text("[serve]\nport = 9\n")
        text = output("config", "show", "--origin", "--config", str(path))
        assert f"{path}:2" in text

    def test_secrets_are_not_in_it(self, output, monkeypatch):
        monkeypatch.setenv("REDIS_URL", "redis://:hunter22@cache:6379")
        monkeypatch.setenv("LLMCTL_AUTH_TOKEN", "hunter23")
        for arguments in (["--origin"], ["--json"]):
            assert "hunter2" not in output("config", "show", *arguments)

    def test_path(self, output, llmctl_home, monkeypatch):
        path = llmctl_home / "config" / "config.toml"
        assert output("config", "path") == f"{path}\n"
        assert json.loads(output("config", "path", "--json")) == {
            "path": str(path),
            "exists": False,
        }
        monkeypatch.setenv("LLMCTL_CONFIG", "/x.toml")
        assert output("config", "path") == "/x.toml\n"


class TestTopics:
    def test_exit_codes_are_all_there(self, output):
        listed = {int(line.split()[0]) for line in output("help", "exit-codes").splitlines()}
        assert listed == {int(code) for code in ExitCode}

    def test_environment(self, output):
        text = output("help", "environment")
        for name in ("LLMCTL_AUTH_TOKEN", "LLMCTL_HOME", "OLLAMA_HOST", "REDIS_URL", "NO_COLOR"):
            assert name in text

    def test_config_lists_every_setting(self, output):
        text = output("help", "config")
        assert ["cache.ttl_s", "86400"] in words(text)
        assert "[[backend]]" in text

    @pytest.mark.parametrize("command", ["serve", "claude", "completion"])
    def test_commands(self, output, command):
        assert f"Usage: llmctl {command}" in output("help", command)

    def test_itself(self, output):
        assert "Usage: llmctl [OPTIONS] COMMAND" in output("help")


class TestServe:
    def test_every_flag_of_the_configuration_is_an_option(self, output):
        text = output("serve", "--help")
        for key, flag in FLAGS.items():
            if not key.startswith(("rent.", "ollama.", "budget.", "cost.")):
                assert f" {flag} " in text

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--backend", "vllm"], "backend cannot be 'vllm' (--backend)"),
            (["--port", "99999"], "serve.port cannot be 99999 (--port): expected `int` <= 65535"),
            (["--num-ctx", "0"], "model.num_ctx cannot be 0 (--num-ctx)"),
            (["--keep-alive", "soon"], "model.keep_alive cannot be 'soon' (--keep-alive)"),
            (["--no-auth", "--listen", "0.0.0.0"], "opens the proxy to other machines"),
            (["--redis-url", "redis://:pw@x"], "holds a password"),
            (["--config", "/nowhere.toml"], "/nowhere.toml does not exist"),
        ],
    )
    def test_what_cannot_be_served_is_said_before_anything_starts(self, capsys, arguments, message):
        assert run(["serve", *arguments]) == ExitCode.USAGE
        out, err = capsys.readouterr()
        assert message in err
        assert out == ""


class TestEnv:
    def test_unknown_shells(self, capsys):
        assert run(["env", "--shell", "csh"]) == ExitCode.USAGE
        assert capsys.readouterr().err == (
            "error: --shell cannot be 'csh': expected one of sh, fish, powershell\n"
        )


class TestStats:
    def test_a_time_that_is_none(self, capsys):
        assert run(["stats", "--since", "yesterday"]) == ExitCode.USAGE
        assert (
            "--since cannot be 'yesterday': expected a time ago such as" in capsys.readouterr().err
        )


class TestCompletion:
    def test_unknown_shells(self, capsys):
        assert run(["completion", "csh"]) == ExitCode.USAGE
        assert (
            "there is no completion for 'csh': expected bash, zsh, fish" in capsys.readouterr().err
        )

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("llmctl se", ["serve"]),
            ("llmctl config ", ["edit", "path", "set", "show"]),
            ("llmctl serve --no", ["--no-auth", "--no-cache", "--no-color"]),
        ],
    )
    def test_candidates(self, capsys, monkeypatch, words, found):
        monkeypatch.setenv("_LLMCTL_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        with pytest.raises(SystemExit) as ended:
            run([])
        assert ended.value.code == 0
        assert sorted(capsys.readouterr().out.split()) == found


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-p", "--", "x", "--"], ["--version", "-c"], ["--", "--help"], []]
)
def test_claude_gets_its_arguments_untouched(arguments):
    from typer.main import get_command

    from llmctl.cli.app import app

    command = get_command(app).commands["claude"]
    assert isinstance(command, PassThrough)
    assert command.make_context("claude", list(arguments)).args == arguments
