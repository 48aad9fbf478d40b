"""``config set`` and ``edit`` as processes, with editors that are small scripts."""

import json
import os
import subprocess
import sys

import pytest

from llmctl.core.paths import find_paths


@pytest.fixture
def file():
    return find_paths(os.environ).config_file


def llmctl(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "llmctl", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        check=False,
        timeout=60,
    )


@pytest.fixture
def editor(tmp_path, monkeypatch):
    """Make EDITOR a script of shell that gets the file as ``$1``."""

    def editor(script):
        command = tmp_path / "my editor"
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
        monkeypatch.setenv("EDITOR", f"'{command}'")

    return editor


def test_set(file):
    found = llmctl("config", "set", "serve.port", "8080")
    assert (found.returncode, found.stdout) == (0, f"serve.port is set in {file}\n")
    assert json.loads(llmctl("config", "show", "--json").stdout)["serve"]["port"] == 8080
    found = llmctl("config", "set", "cache.ttl_s", "12h", "--json", LLMCTL_CACHE_TTL_S="1h")
    assert json.loads(found.stdout) == {
        "key": "cache.ttl_s",
        "value": "12h",
        "path": str(file),
        "shadowed_by": "LLMCTL_CACHE_TTL_S",
    }
    assert found.stderr == "warning: LLMCTL_CACHE_TTL_S is set here, and beats the file\n"


def test_set_in_another_file(tmp_path):
    other = tmp_path / "other.toml"
    assert llmctl("config", "set", "serve.port", "1", "--config", str(other)).returncode == 0
    assert llmctl("config", "set", "serve.auth", "true", LLMCTL_CONFIG=str(other)).returncode == 0
    assert other.read_text().endswith("[serve]\nport = 1\nauth = true\n")


def test_a_value_that_looks_like_an_option(file):
    assert llmctl("config", "set", "model.keep_alive", "--", "-1").returncode == 0
    assert 'keep_alive = "-1"' in file.read_text()


def test_edit(file, editor):
    editor("printf '[serve]\\nport = 9\\n' > \"$1\"")
    found = llmctl("config", "edit")
    assert (found.returncode, found.stderr) == (0, f"{file} is as you left it\n")
    assert file.read_text() == "[serve]\nport = 9\n"
    editor("true")
    assert llmctl("config", "edit").stderr == "nothing was changed\n"


def test_edit_of_what_is_not_valid(file, editor):
    llmctl("config", "set", "serve.port", "1")
    before = file.read_text()
    editor("echo 'prot = 1' >> \"$1\"")
    found = llmctl("config", "edit")
    assert found.returncode == 2
    assert f"{file}:5: there is no setting 'serve.prot'" in found.stderr
    kept = found.stderr.strip().rpartition("what you wrote is in ")[2]
    assert file.read_text() == before
    with open(kept) as copy:
        assert copy.read() == before + "prot = 1\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/nowhere/vim", "the editor '/nowhere/vim' cannot be started"),
        ("'", 'the editor "\'" cannot be started'),
        ("false", "'false' ended with 1; nothing was changed"),
    ],
)
def test_editors_that_fail(file, command, message):
    found = llmctl("config", "edit", VISUAL=command)
    assert found.returncode == 2
    assert message in found.stderr
    assert list(file.parent.iterdir()) == []
