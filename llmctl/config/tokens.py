"""Tokens of people who share a proxy: each of them is a tenant of their own."""

import contextlib
import fcntl
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from llmctl.config.secrets import TENANT, Secret, TokenStore, new_token, token_digest
from llmctl.core.errors import AuthError, ConfigError, NotFound

MAX_NAME_CHARS = 64
LOOK_S = 1.0
"""A running server looks for changes of the file at most this often."""

log = logging.getLogger(__name__)


def add_token(store: TokenStore, name: str) -> Secret:
    """Make a token for ``name`` and keep its digest; the token itself is kept nowhere.

    A name may have several: a new one is added before the old ones are removed. Raises
    ``ConfigError`` for a name that is none, ``AuthError`` where the file cannot be changed.
    """
    if not (name and len(name) <= MAX_NAME_CHARS and all(map(_is_plain, name))):
        raise ConfigError(
            f"{name!r} is no name of a tenant",
            hint=f"letters, digits and . _ - @, at most {MAX_NAME_CHARS}",
        )
    token = new_token()
    with _changing(store) as digests:
        digests[token_digest(token)] = name
    return token


def tenants(store: TokenStore) -> dict[str, int]:
    """Return how many tokens each tenant has; raises ``AuthError`` for a damaged file."""
    return dict(Counter(store.digests().values()))


def remove_tokens(store: TokenStore, name: str) -> int:
    """Remove all tokens of ``name`` and return how many there were.

    Raises ``NotFound``, and ``AuthError`` where the file cannot be changed.
    """
    if name == TENANT:
        raise ConfigError(
            f"{TENANT} is the token of this machine, which llmctl itself uses",
            hint=f"rm {store.token_file} and restart llmctl serve to have a new one",
        )
    with _changing(store) as digests:
        gone = [digest for digest, tenant in digests.items() if tenant == name]
        if not gone:
            known = ", ".join(sorted(set(digests.values()))) or "nobody"
            raise NotFound(f"{name} has no token; known are {known}", hint="llmctl token list")
        for digest in gone:
            del digests[digest]
    return len(gone)


class LiveDigests(Mapping[str, str]):
    """Digest → tenant as the file has it now: who is removed is out within a second."""

    def __init__(
        self, store: TokenStore, digests: Mapping[str, str], monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._digests = digests
        self._monotonic = monotonic
        self._seen = _stamp(store.digests_file)
        self._next_look = monotonic() + LOOK_S

    def __getitem__(self, digest: str) -> str:
        self._look()
        return self._digests[digest]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._digests)

    def __len__(self) -> int:
        self._look()
        return len(self._digests)

    def _look(self) -> None:
        now = self._monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_S
        stamp = _stamp(self._store.digests_file)
        if stamp in (None, self._seen):
            return
        self._seen = stamp
        try:
            self._digests = self._store.digests()
        except AuthError as damaged:
            log.warning("the tokens stay as they were: %s", damaged)


@contextlib.contextmanager
def _changing(store: TokenStore) -> Iterator[dict[str, str]]:
    """Give the digests to be changed, one process at a time, and keep them after the block."""
    file = store.digests_file
    if file is None:
        raise AuthError(
            "LLMCTL_AUTH_TOKEN is set: the server takes that token and no other",
            hint="unset LLMCTL_AUTH_TOKEN",
        )
    store.load_or_create()
    try:
        path = file.with_name(".tokens.lock")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            digests = store.digests()
            yield digests
            store.keep(digests)
    except OSError as failure:
        raise AuthError(f"cannot change {file}: {failure.strerror}") from failure


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    if file is None:
        return None
    try:
        found = os.stat(file)  # noqa: PTH116  a microsecond less, on the way of requests
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_plain(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character in "._-@")
