import os
import stat

import pytest

from llmctl.config.edit import BEGINNING, copy_of, read_text, replace, set_value, take
from llmctl.core.errors import ConfigError

COMMENTED = """\
# the proxy of the team
[serve]
port = 9000        # not 8000: taken

[model]
# the big one
name = "qwen3-coder:480b"
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "config" / "config.toml"


@pytest.fixture
def file(path):
    path.parent.mkdir()
    path.write_text(COMMENTED)
    return path


def set_(path, key, text, **environ):
    return set_value(path, key, text, environ=environ)


def test_comments_and_order_stay(file):
    assert set_(file, "serve.port", "9001").value == 9001
    assert file.read_text() == COMMENTED.replace("9000", "9001")


def test_a_file_is_begun_for_its_owner_alone(path):
    set_(path, "serve.port", "1")
    assert path.read_text() == BEGINNING + "\n[serve]\nport = 1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("key", "text", "line"),
    [
        ("cache.ttl_s", "24h", 'ttl_s = "24h"'),
        ("cache.ttl_s", "90", "ttl_s = 90"),
        ("cache.ttl_s", "0.5", "ttl_s = 0.5"),
        ("cache.memory_bytes", "1GiB", 'memory_bytes = "1GiB"'),
        ("serve.auth", "false", "auth = false"),
        (
            "serve.allowed_hosts",
            "a.example, b.example",
            'allowed_hosts = ["a.example", "b.example"]',
        ),
        ("cache.semantic.mode", "shadow", '[cache.semantic]\nmode = "shadow"'),
        ("model.aliases", "fast=qwen2.5-coder:7b", '[model.aliases]\nfast = "qwen2.5-coder:7b"'),
        ("backend", "ollama:http://a,openai:http://b", '[[backend]]\nurl = "openai:http://b"'),
        ("rent.max_price", "0.50", 'max_price = "0.50"'),
    ],
)
def test_values_stand_as_one_would_write_them(file, key, text, line):
    set_(file, key, text)
    assert line in file.read_text()
    assert file.read_text().startswith(COMMENTED.splitlines()[0])


def test_a_setting_of_all_engines_is_set_in_each(file):
    with pytest.raises(ConfigError, match="the file names none"):
        set_(file, "backend.parallel", "2")
    set_(file, "backend", "ollama:http://a,openai:http://b")
    set_(file, "backend.parallel", "2")
    assert file.read_text().count("parallel = 2") == 2


@pytest.mark.parametrize(
    ("key", "text", "message", "hint"),
    [
        ("serve.prot", "1", "there is no setting 'serve.prot'", "did you mean serve.port?"),
        ("nothing", "1", "there is no setting 'nothing'", "llmctl help config"),
        ("serve.port", "many", "serve.port cannot be 'many': expected `int`", None),
        ("serve.port", "0x10", "serve.port cannot be '0x10'", None),
        ("cache.ttl_s", "soon", "cache.ttl_s cannot be 'soon': expected a duration", None),
        ("cache.store", "disk", "cache.store cannot be 'disk': expected one of auto", None),
        ("redis.url", "redis://:secret@h", "holds a password, which belongs in the env", "put it"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(file, key, text, message, hint):
    with pytest.raises(ConfigError) as refused:
        set_(file, key, text)
    assert message in refused.value.message
    assert (refused.value.hint or "").startswith(hint or "")
    assert file.read_text() == COMMENTED
    assert list(file.parent.iterdir()) == [file]


def test_what_is_wrong_together_is_refused_by_the_files_own_name(file):
    set_(file, "serve.auth", "false")
    with pytest.raises(ConfigError, match=r"opens the proxy") as refused:
        set_(file, "serve.listen", "0.0.0.0")
    assert f"({file}:" in refused.value.message


def test_a_file_that_is_broken_already_is_left_alone(file):
    file.write_text("[serve\nport = 1")
    with pytest.raises(ConfigError, match=f"{file} is not valid TOML"):
        set_(file, "serve.port", "2")
    assert file.read_text() == "[serve\nport = 1"


def test_it_is_said_what_beats_the_file(file):
    assert set_(file, "serve.port", "1").shadowed_by is None
    assert set_(file, "serve.port", "1", LLMCTL_SERVE_PORT="2").shadowed_by == "LLMCTL_SERVE_PORT"
    assert set_(file, "serve.port", "1", API_PORT="2").shadowed_by == "API_PORT"


def test_links_and_modes_are_kept(file, tmp_path):
    real = tmp_path / "dotfiles.toml"
    file.rename(real)
    real.chmod(0o644)
    file.symlink_to(real)
    set_(file, "serve.port", "7")
    assert file.is_symlink()
    assert "port = 7" in real.read_text()
    assert stat.S_IMODE(real.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_directory_that_cannot_be_written(file):
    file.parent.chmod(0o500)
    with pytest.raises(ConfigError, match="cannot write .*: Permission denied"):
        set_(file, "serve.port", "1")


def test_an_edited_copy_takes_the_place_of_the_file(file):
    copy = copy_of(file, COMMENTED)
    assert read_text(copy) == COMMENTED
    assert not take(copy, file, COMMENTED)
    assert not copy.exists()
    copy = copy_of(file, COMMENTED)
    copy.write_text("[serve]\nport = 3\n")
    assert take(copy, file, COMMENTED)
    assert file.read_text() == "[serve]\nport = 3\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_copy_that_is_not_valid_is_kept_for_another_try(file):
    copy = copy_of(file, COMMENTED)
    copy.write_text("[serve]\nport = 'x'\n")
    with pytest.raises(ConfigError, match=rf"serve.port cannot be 'x' \({file}:2\)"):
        take(copy, file, COMMENTED)
    assert (copy.exists(), file.read_text()) == (True, COMMENTED)


def test_what_others_wrote_meanwhile_is_not_lost(file):
    copy = copy_of(file, COMMENTED)
    copy.write_text("[serve]\nport = 3\n")
    set_(file, "serve.port", "5")
    with pytest.raises(ConfigError, match="was changed by somebody else meanwhile"):
        take(copy, file, COMMENTED)
    assert "port = 5" in file.read_text()


def test_a_new_file_begins_with_a_word_of_help(path):
    copy = copy_of(path, "")
    assert read_text(copy) == BEGINNING
    assert not take(copy, path, "")
    assert not path.exists()
    with pytest.raises(ConfigError, match="there is no setting 'serve.prot'"):
        replace(path, "[serve]\nprot = 1\n")
    assert not path.exists()
