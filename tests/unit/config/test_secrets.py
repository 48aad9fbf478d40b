import copy
import json
import os
import pickle
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import msgspec
import pytest

from llmctl.config.secrets import (
    Secret,
    TokenStore,
    cache_seal_key,
    drop_cache_seal_key,
    engine_key_from_environment,
    install_secret,
    token_from_environment,
)
from llmctl.core.errors import AuthError
from llmctl.core.logs import redact

PLAIN = "hunter22-hunter22"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def digest(token):
    return sha256(token.reveal().encode()).hexdigest()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "home" / "data"


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


class TestSecret:
    def test_no_way_of_showing_it_shows_it(self):
        secret = Secret(PLAIN)
        shown = [
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret!r:>20}",
            "%s" % secret,
            repr({"key": [secret]}),
            json.dumps({"key": secret}, default=str),
            msgspec.json.encode({"key": secret}, enc_hook=str).decode(),
            repr(pickle.dumps(secret)),
            str(pickle.loads(pickle.dumps(secret)).reveal()),
            repr(copy.deepcopy(secret).reveal()),
        ]
        assert not [text for text in shown if PLAIN in text]
        assert all("****" in text for text in shown)

    def test_it_is_not_text_that_encoders_take_by_themselves(self):
        with pytest.raises(TypeError):
            json.dumps(Secret(PLAIN))
        with pytest.raises(TypeError):
            msgspec.json.encode(Secret(PLAIN))

    def test_log_lines_mask_it_from_then_on(self):
        Secret("correct-horse-battery")
        assert redact("with correct-horse-battery inside") == "with **** inside"

    def test_equality_is_by_value(self):
        assert Secret(PLAIN) == Secret(PLAIN)
        assert hash(Secret(PLAIN)) == hash(Secret(PLAIN))
        assert Secret(PLAIN) != Secret("other")
        assert Secret(PLAIN) != PLAIN


class TestTokenStore:
    def test_the_first_start_makes_a_token_and_later_ones_only_know_it(self, directory):
        digests, token = TokenStore(directory).load_or_create()
        assert token is not None
        assert token.reveal().startswith("llmctl_")
        assert len(token.reveal()) >= len("llmctl_") + 43
        assert digests == {digest(token): "local"}
        assert TokenStore(directory).load_or_create() == (digests, None)
        assert TokenStore(directory).client_token() == token

    def test_the_server_keeps_only_the_digest(self, directory):
        _, token = TokenStore(directory).load_or_create()
        assert token.reveal() not in (directory / "tokens.json").read_text()

    def test_files_are_private_under_any_umask(self, directory, umask):
        TokenStore(directory).load_or_create()
        install_secret(directory)
        assert mode(directory) == mode(directory.parent) == 0o700
        assert {mode(path) for path in directory.iterdir()} == {0o600}
        assert {path.name for path in directory.iterdir()} == {"token", "tokens.json", "cache.key"}

    @pytest.mark.parametrize("wrong", [0o640, 0o604, 0o620, 0o644, 0o666])
    @pytest.mark.parametrize("name", ["token", "tokens.json"])
    def test_what_others_can_read_is_refused_with_the_remedy(self, directory, name, wrong):
        store = TokenStore(directory)
        store.load_or_create()
        path = directory / name
        path.chmod(wrong)
        with pytest.raises(AuthError) as caught:
            store.client_token() if name == "token" else store.load_or_create()
        assert caught.value.message == f"{path} is open to other users (mode {wrong:04o})"
        assert caught.value.hint == f"chmod 600 {path}"
        path.chmod(0o600)
        assert store.client_token() is not None
        assert store.load_or_create()[0]

    def test_a_directory_others_can_change_is_refused(self, directory):
        store = TokenStore(directory)
        store.load_or_create()
        directory.chmod(0o777)
        with pytest.raises(AuthError, match="can be changed by other users") as caught:
            store.client_token()
        assert caught.value.hint == f"chmod 700 {directory}"

    def test_paths_in_remedies_are_quoted(self, tmp_path):
        directory = tmp_path / "my files"
        store = TokenStore(directory)
        store.load_or_create()
        store.token_file.chmod(0o644)
        with pytest.raises(AuthError) as caught:
            store.client_token()
        assert caught.value.hint == f"chmod 600 '{store.token_file}'"
        assert store.shell_words == f"$(cat '{store.token_file}')"

    def test_a_file_that_is_none(self, directory):
        store = TokenStore(directory)
        store.load_or_create()
        store.token_file.unlink()
        store.token_file.mkdir()
        with pytest.raises(AuthError, match="cannot read .*: Is a directory"):
            store.client_token()

    @pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff\xfe"])
    def test_a_file_without_a_token(self, directory, content):
        store = TokenStore(directory)
        store.load_or_create()
        store.token_file.write_bytes(content)
        with pytest.raises(AuthError, match="holds no token"):
            store.client_token()

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", "{}", '{"abc": "local"}', '{"%s": 3}' % ("0" * 64)]
    )
    def test_digests_that_are_none(self, directory, content):
        store = TokenStore(directory)
        store.load_or_create()
        (directory / "tokens.json").write_text(content)
        with pytest.raises(AuthError, match="does not map SHA-256 digests to tenants"):
            store.load_or_create()

    def test_several_tenants_can_be_listed(self, directory):
        store = TokenStore(directory)
        store.load_or_create()
        tenants = {"0" * 64: "anna", "1" * 64: "ben"}
        (directory / "tokens.json").write_text(json.dumps(tenants))
        assert store.load_or_create() == (tenants, None)

    def test_a_start_that_was_cut_short_is_completed(self, directory):
        _, token = TokenStore(directory).load_or_create()
        (directory / "tokens.json").unlink()
        assert TokenStore(directory).load_or_create() == ({digest(token): "local"}, None)

    def test_of_many_first_starts_one_wins(self, directory):
        starters = 16
        barrier = threading.Barrier(starters)

        def start(_):
            barrier.wait()
            return TokenStore(directory).load_or_create()

        with ThreadPoolExecutor(starters) as pool:
            results = list(pool.map(start, range(starters)))
        assert len({tuple(digests) for digests, _ in results}) == 1
        assert len([token for _, token in results if token]) == 1
        assert sorted(path.name for path in directory.iterdir()) == ["token", "tokens.json"]

    def test_no_token_yet_is_none_for_the_client(self, directory):
        assert TokenStore(directory).client_token() is None

    def test_where_nothing_can_be_written_the_token_lasts_as_long_as_the_process(
        self, tmp_path, caplog
    ):
        (tmp_path / "file").touch()
        digests, token = TokenStore(tmp_path / "file" / "data").load_or_create()
        assert token is not None
        assert digests == {digest(token): "local"}
        assert "cannot keep the token in" in caplog.text
        assert token.reveal() not in caplog.text


class TestOverride:
    def test_it_is_the_only_token_and_touches_no_file(self, directory):
        override = token_from_environment({"LLMCTL_AUTH_TOKEN": f" {PLAIN}\n"})
        store = TokenStore(directory, override=override)
        assert store.load_or_create() == ({sha256(PLAIN.encode()).hexdigest(): "local"}, None)
        assert store.client_token() == Secret(PLAIN)
        assert store.shell_words == "$LLMCTL_AUTH_TOKEN"
        assert not directory.exists()

    def test_empty_is_none(self):
        assert token_from_environment({}) is None
        assert token_from_environment({"LLMCTL_AUTH_TOKEN": " "}) is None

    @pytest.mark.parametrize("text", ["two words", "line\nbreak", "schlüssel"])
    def test_what_no_header_can_carry_is_refused_unseen(self, text):
        with pytest.raises(AuthError) as caught:
            token_from_environment({"LLMCTL_AUTH_TOKEN": text})
        assert text not in caught.value.message


class TestEngineKey:
    def test_it_is_what_the_variable_says(self):
        assert engine_key_from_environment({"LLMCTL_BACKEND_API_KEY": " sesame\n"}) == Secret(
            "sesame"
        )
        assert engine_key_from_environment({"LLMCTL_BACKEND_API_KEY": ""}) is None

    def test_what_no_header_can_carry_is_refused_unseen(self):
        with pytest.raises(AuthError, match="LLMCTL_BACKEND_API_KEY holds") as caught:
            engine_key_from_environment({"LLMCTL_BACKEND_API_KEY": "schlüssel"})
        assert "schlüssel" not in f"{caught.value.message} {caught.value.hint}"


class TestCacheSealKey:
    def test_it_stays_the_same_and_is_no_other_secret(self, directory):
        key = cache_seal_key(directory)
        assert len(key) == 32
        assert cache_seal_key(directory) == key != install_secret(directory)
        assert mode(directory / "cache-seal.key") == 0o600

    def test_dropping_it_makes_another(self, directory):
        key = cache_seal_key(directory)
        secret = install_secret(directory)
        drop_cache_seal_key(directory)
        assert cache_seal_key(directory) != key
        assert install_secret(directory) == secret
        assert key not in b"".join(path.read_bytes() for path in directory.iterdir())

    def test_dropping_one_that_was_never_made(self, directory):
        drop_cache_seal_key(directory)
        assert len(cache_seal_key(directory)) == 32

    def test_one_that_cannot_be_removed_is_told(self, directory):
        (directory / "cache-seal.key").mkdir(parents=True)
        with pytest.raises(AuthError, match="cannot remove .*cache-seal.key"):
            drop_cache_seal_key(directory)

    def test_others_must_not_read_it(self, directory):
        cache_seal_key(directory)
        (directory / "cache-seal.key").chmod(0o640)
        with pytest.raises(AuthError, match="is open to other users"):
            cache_seal_key(directory)


class TestInstallSecret:
    def test_it_stays_the_same(self, directory):
        key = install_secret(directory)
        assert len(key) == 32
        assert install_secret(directory) == key
        assert install_secret(directory.with_name("other")) != key

    def test_others_must_not_read_it(self, directory):
        install_secret(directory)
        (directory / "cache.key").chmod(0o644)
        with pytest.raises(AuthError, match="is open to other users"):
            install_secret(directory)

    def test_another_length_is_refused(self, directory):
        install_secret(directory)
        (directory / "cache.key").write_bytes(b"short")
        with pytest.raises(AuthError, match="holds 5 bytes instead of 32"):
            install_secret(directory)

    def test_where_nothing_can_be_written_it_lasts_as_long_as_the_process(self, tmp_path, caplog):
        (tmp_path / "file").touch()
        assert len(install_secret(tmp_path / "file" / "data")) == 32
        assert "cannot keep the cache key in" in caplog.text

    def test_of_many_first_starts_one_wins(self, directory):
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(lambda _: install_secret(directory), range(8)))
        assert len(keys) == 1
