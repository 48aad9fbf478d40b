import pytest

from llmctl.core.paths import find_paths
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor import configuration


@pytest.fixture
def environ(tmp_path):
    return {"LLMCTL_HOME": str(tmp_path)}


def write(environ, text):
    path = find_paths(environ).config_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def told(environ):
    _, findings = configuration.read(environ, None)
    return [(each.name, each.state, each.fix) for each in findings]


def test_nothing_is_configured(environ):
    loaded, (found,) = configuration.read(environ, None)
    assert loaded is not None
    assert (found.state, found.detail) == (
        CheckState.OK,
        f"no file {find_paths(environ).config_file}, no settings in variables",
    )


def test_what_is_set(environ):
    path = write(environ, "[serve]\nport = 9000\n")
    _, (found,) = configuration.read(environ | {"LLMCTL_MODEL_NAME": "m"}, None)
    assert found.detail == f"1 setting in {path}, 1 setting in variables"


def test_every_unknown_key_is_told_once_with_its_line(environ):
    path = write(environ, "[serve]\nprot = 1\nport = 9000\nlisten_on = 'x'\n")
    loaded, findings = configuration.read(environ, None)
    assert loaded is None
    bad = [each for each in findings if each.state is CheckState.BAD]
    assert [each.detail.partition(": ")[0] for each in bad] == [f"{path}:2", f"{path}:4"]
    assert {each.fix for each in bad} == {"llmctl config edit"}
    assert "did you mean serve.port?" in findings[1].detail


def test_an_unknown_variable_has_no_effect(environ):
    assert told(environ | {"LLMCTL_SERVE_PROT": "1"})[1] == (
        "variables",
        CheckState.BAD,
        "unset LLMCTL_SERVE_PROT",
    )


def test_variables_that_are_read_elsewhere_are_known(environ):
    assert len(told(environ | {"LLMCTL_DEBUG": "1", "LLMCTL_CLAUDE": "/c"})) == 1


def test_a_value_that_cannot_be(environ):
    path = write(environ, "[serve]\nport = 99999999\n")
    loaded, findings = configuration.read(environ, None)
    assert loaded is None
    (bad,) = [each for each in findings if each.state is CheckState.BAD]
    assert bad.detail.startswith(f"serve.port cannot be 99999999 ({path}:2)")


def test_a_file_that_is_no_toml(environ):
    write(environ, "[serve\n")
    loaded, (bad,) = configuration.read(environ, None)
    assert loaded is None
    assert (bad.state, bad.fix) == (CheckState.BAD, "llmctl config edit")


class TestShadowed:
    def test_the_winner_and_the_losers_with_their_origins(self, environ):
        path = write(environ, "[serve]\nport = 9000\n")
        given = environ | {"LLMCTL_SERVE_PORT": "9001", "API_PORT": "9002"}
        _, findings = configuration.read(given, None)
        (found,) = [each for each in findings if each.name == "shadowed"]
        assert found.state is CheckState.NOTE
        assert found.detail == (
            "serve.port is '9001' from LLMCTL_SERVE_PORT, which beats "
            f"'9002' from API_PORT, 9000 from {path}:2"
        )
        assert found.fix == "unset LLMCTL_SERVE_PORT"

    def test_what_is_said_twice_alike_does_no_harm(self, environ):
        write(environ, "[serve]\nport = 9000\n")
        assert len(told(environ | {"LLMCTL_SERVE_PORT": "9000"})) == 1

    def test_addresses_may_hold_passwords(self, environ):
        write(environ, '[redis]\nurl = "redis://a:6379/0"\n')
        _, findings = configuration.read(environ | {"REDIS_URL": "redis://:hidden@b:6379/0"}, None)
        assert not any("hidden" in each.detail for each in findings)


class TestSecrets:
    def test_none_yet(self, environ):
        (found,) = configuration.file_findings(environ, find_paths(environ))
        assert found.detail == "none yet: llmctl serve makes one"

    def test_from_the_environment(self, environ):
        token = "llmctl_" + "0" * 64
        (found,) = configuration.file_findings(
            environ | {"LLMCTL_AUTH_TOKEN": token}, find_paths(environ)
        )
        assert found.detail == "of the proxy, from LLMCTL_AUTH_TOKEN"

    def test_others_can_read_a_key(self, environ):
        paths = find_paths(environ)
        key = paths.data / "ssh" / "id_ed25519"
        key.parent.mkdir(parents=True, mode=0o700)
        key.write_text("key")
        key.chmod(0o644)
        (key.parent / "id_ed25519.pub").write_text("public")
        _, bad = configuration.file_findings(environ, paths)
        assert (bad.state, bad.fix) == (CheckState.BAD, f"chmod 600 {key}")

    def test_others_can_read_the_token(self, environ):
        paths = find_paths(environ)
        paths.data.mkdir(parents=True, mode=0o700)
        (paths.data / "token").write_text("llmctl_x")
        (paths.data / "token").chmod(0o644)
        (bad,) = configuration.file_findings(environ, paths)
        assert (bad.state, bad.fix) == (CheckState.BAD, f"chmod 600 {paths.data / 'token'}")


class TestTheClientsOwnVariables:
    def test_a_key_that_would_be_sent_to_the_proxy(self):
        shell = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8000", "ANTHROPIC_API_KEY": "sk-ant-x"}
        (found,) = configuration.client_findings(shell)
        assert found.fix == "unset ANTHROPIC_API_KEY"
        assert "sk-ant-x" not in found.detail

    @pytest.mark.parametrize(
        "shell",
        [
            {},
            {"ANTHROPIC_API_KEY": "k"},
            {"ANTHROPIC_BASE_URL": "https://api.anthropic.com", "ANTHROPIC_API_KEY": "k"},
            {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8000"},
        ],
    )
    def test_nothing_to_say(self, shell):
        assert configuration.client_findings(shell) == []
