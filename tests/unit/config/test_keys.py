import pytest

from llmctl.config.keys import find_key, forget_key, keep_key
from llmctl.core.errors import AuthError, ConfigError
from llmctl.core.rental import ProviderName

VAST, RUNPOD = ProviderName.VAST, ProviderName.RUNPOD


def private(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_named_file_beats_the_variable_and_the_variable_what_was_kept(tmp_path):
    keep_key(tmp_path, VAST, "kept-key-1111")
    environ = {"VAST_API_KEY": "variable-2222", "RUNPOD_API_KEY": "other"}
    named = private(tmp_path / "named", "named-key-3333\n")
    assert find_key(VAST, {}, tmp_path).secret.reveal() == "kept-key-1111"
    assert find_key(VAST, environ, tmp_path).secret.reveal() == "variable-2222"
    assert find_key(VAST, environ, tmp_path, key_file=named).secret.reveal() == "named-key-3333"


def test_the_hint_names_the_source_and_four_characters(tmp_path):
    key = find_key(RUNPOD, {"RUNPOD_API_KEY": "rpa_secret_abcd"}, tmp_path)
    assert key.hint == "RUNPOD_API_KEY, ends in abcd"
    assert "rpa_" not in repr(key)


def test_there_may_be_no_key(tmp_path):
    assert find_key(VAST, {"VAST_API_KEY": " "}, tmp_path) is None
    assert not forget_key(tmp_path, VAST)


def test_a_kept_key_is_private_and_can_be_forgotten(tmp_path):
    path = keep_key(tmp_path / "data", VAST, " word \n")
    assert path.read_text() == "word\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert forget_key(tmp_path / "data", VAST)
    assert find_key(VAST, {}, tmp_path / "data") is None


@pytest.mark.parametrize("text", ["", "  ", "two words"])
def test_what_cannot_be_a_key_is_not_kept(tmp_path, text):
    with pytest.raises(ConfigError, match="one word"):
        keep_key(tmp_path, VAST, text)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_trusted_are_refused(tmp_path):
    open_file = tmp_path / "open"
    open_file.write_text("key")
    open_file.chmod(0o644)
    for path, reason in [
        (open_file, "other users can read"),
        (tmp_path / "missing", "cannot be read: No such file"),
        (private(tmp_path / "empty", "\n"), "is empty"),
    ]:
        with pytest.raises(AuthError, match=reason):
            find_key(VAST, {}, tmp_path, key_file=path)
