import json
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmctl.config.secrets import Secret, TokenStore, token_digest
from llmctl.config.tokens import LOOK_S, LiveDigests, add_token, remove_tokens, tenants
from llmctl.core.errors import AuthError, ConfigError, NotFound


@pytest.fixture
def store(tmp_path) -> TokenStore:
    return TokenStore(tmp_path / "data")


def test_a_token_is_kept_as_its_digest_only(store):
    token = add_token(store, "ada")
    assert store.digests()[token_digest(token)] == "ada"
    assert token.reveal() not in store.digests_file.read_text()
    assert stat.S_IMODE(store.digests_file.stat().st_mode) == 0o600


def test_everybody_keeps_their_own(store):
    _, mine = store.load_or_create()
    first, second = add_token(store, "ada"), add_token(store, "ada")
    ci = add_token(store, "ci@build-1.example")
    assert tenants(store) == {"local": 1, "ada": 2, "ci@build-1.example": 1}
    assert remove_tokens(store, "ada") == 2
    left = store.digests()
    assert token_digest(mine) in left
    assert token_digest(ci) in left
    assert not {token_digest(first), token_digest(second)} & left.keys()


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ü", "a/b", "a\nb"])
def test_names_that_are_none(store, name):
    with pytest.raises(ConfigError, match="no name of a tenant"):
        add_token(store, name)
    assert tenants(store) == {}


def test_nobody_of_that_name(store):
    add_token(store, "ada")
    with pytest.raises(NotFound, match="bob has no token; known are ada, local"):
        remove_tokens(store, "bob")


def test_the_token_of_this_machine_stays(store):
    store.load_or_create()
    with pytest.raises(ConfigError, match="llmctl itself uses"):
        remove_tokens(store, "local")


def test_a_token_from_the_environment_is_the_only_one(tmp_path):
    store = TokenStore(tmp_path, override=Secret("llmctl_fixed-in-the-environment"))
    with pytest.raises(AuthError, match="takes that token and no other"):
        add_token(store, "ada")


def test_many_at_once_lose_none(store):
    names = [f"user-{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda name: add_token(store, name), names))
    assert {store.digests()[token_digest(token)] for token in made} == set(names)


class TestLiveDigests:
    def test_changes_show_within_a_second(self, store):
        now = [0.0]
        live = LiveDigests(store, store.load_or_create()[0], lambda: now[0])
        token = token_digest(add_token(store, "ada"))
        assert live.get(token) is None
        now[0] += LOOK_S
        assert live.get(token) == "ada"
        remove_tokens(store, "ada")
        assert live.get(token) == "ada"
        now[0] += LOOK_S
        assert live.get(token) is None
        assert list(live.values()) == ["local"]
        assert len(live) == 1

    def test_a_damaged_or_missing_file_changes_nothing(self, store, caplog):
        now = [0.0]
        digests, token = store.load_or_create()
        live = LiveDigests(store, digests, lambda: now[0])
        for damage in (lambda path: path.write_text("{"), lambda path: path.unlink()):
            damage(store.digests_file)
            now[0] += LOOK_S
            assert live.get(token_digest(token)) == "local"
        assert caplog.text.count("stay as they were") == 1
        store.digests_file.touch(0o600)
        store.digests_file.write_text(json.dumps({"0" * 64: "eve"}))
        now[0] += LOOK_S
        assert live.get("0" * 64) == "eve"
