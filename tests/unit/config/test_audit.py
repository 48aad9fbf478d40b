import pytest

from llmctl.config.audit import audit
from llmctl.core.errors import ConfigError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config.toml"


def test_nothing(path):
    found = audit(path, {})
    assert (found.in_file, found.in_environment, found.unknown, found.shadowed) == (0, 0, [], [])


def test_every_unknown_name_with_its_place(path):
    path.write_text("[serve]\nport = 1\nprot = 2\n\n[severe]\nport = 3\n")
    found = audit(path, {"LLMCTL_SERVE_PROT": "1", "LLMCTL_HOME": "/x", "OTHER": "1"})
    assert [(each.name, each.where) for each in found.unknown] == [
        ("serve.prot", f"{path}:3"),
        ("severe", f"{path}:5"),
        ("LLMCTL_SERVE_PROT", ""),
    ]
    assert found.in_file == 1
    assert found.unknown[0].suggestion == "did you mean serve.port?"


def test_an_empty_variable_is_none(path):
    assert audit(path, {"LLMCTL_SERVE_PROT": "", "LLMCTL_SERVE_PORT": ""}).unknown == []


def test_a_variable_of_our_own_beats_a_customary_one_and_the_file(path):
    path.write_text("[serve]\nport = 1\n")
    (found,) = audit(path, {"API_PORT": "2", "LLMCTL_SERVE_PORT": "3"}).shadowed
    assert (found.key, found.wins.value) == ("serve.port", "3")
    assert [each.value for each in found.loses] == ["2", 1]


def test_a_file_that_cannot_be_read(path):
    path.write_text("[serve")
    with pytest.raises(ConfigError, match="not valid TOML"):
        audit(path, {})


def test_a_file_that_was_asked_for_and_is_not_there(path):
    with pytest.raises(ConfigError, match="does not exist"):
        audit(path, {}, required=True)
