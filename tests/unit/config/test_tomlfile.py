import pytest

from llmctl.config.tomlfile import read
from llmctl.core.errors import ConfigError

KNOWN = ("serve.port", "serve.listen", "backend", "model.aliases", "cache.ttl_s")


def parsed(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    found = read(path, known=KNOWN, required=True)
    return {
        key: (given.value, given.origin.where.removeprefix(str(path)))
        for key, given in found.items()
    }


def failure(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read(path, known=KNOWN, required=True)
    assert str(path) in caught.value.message
    return caught.value


def test_values_with_their_lines(tmp_path):
    text = """
# where to listen
[serve]
port = 8080

[[backend]]
url = "ollama"

[model.aliases]
fast = "qwen"

[cache]
  ttl_s = "24h"
"""
    assert parsed(tmp_path, text) == {
        "serve.port": (8080, ":4"),
        "backend": ([{"url": "ollama"}], ":6"),
        "model.aliases": ({"fast": "qwen"}, ":9"),
        "cache.ttl_s": ("24h", ":13"),
    }


def test_dotted_keys_have_lines_too(tmp_path):
    assert parsed(tmp_path, "serve.port = 1\nmodel.aliases.fast = 'x'\n") == {
        "serve.port": (1, ":1"),
        "model.aliases": ({"fast": "x"}, ":2"),
    }


def test_inline_tables_are_read_without_a_line(tmp_path):
    assert parsed(tmp_path, "serve = { port = 1 }\n") == {"serve.port": (1, "")}


def test_a_typo_is_told_with_line_and_suggestion(tmp_path):
    error = failure(tmp_path, b"[serve]\nlisten = '::1'\nprot = 80\n")
    assert error.message.endswith("config.toml:3: there is no setting 'serve.prot'")
    assert error.hint == "did you mean serve.port?"


def test_a_misplaced_setting_is_found_by_its_name(tmp_path):
    assert failure(tmp_path, b"ttl_s = 5\n").hint == "did you mean cache.ttl_s?"


def test_what_resembles_nothing_gets_no_suggestion(tmp_path):
    assert failure(tmp_path, b"[zebra]\nstripes = 3\n").hint is None


def test_a_section_must_be_a_table(tmp_path):
    assert "there is no setting 'serve'" in failure(tmp_path, b"serve = 3\n").message


def test_broken_toml_says_where(tmp_path):
    assert "line 2" in failure(tmp_path, b"[serve]\nport = \n").message


def test_bytes_that_are_no_text(tmp_path):
    assert "is not UTF-8" in failure(tmp_path, b"\xff\xfe").message


def test_an_absent_file_is_empty_unless_it_was_asked_for(tmp_path):
    path = tmp_path / "none.toml"
    assert read(path, known=KNOWN, required=False) == {}
    with pytest.raises(ConfigError, match="does not exist"):
        read(path, known=KNOWN, required=True)


def test_a_directory_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="cannot read .*: Is a directory"):
        read(tmp_path, known=KNOWN, required=False)
