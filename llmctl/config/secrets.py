"""Tokens and keys: made once, kept in files only their owner can read, never shown by accident.

Nothing here comes from ``config.toml``. Files are created with their final mode and by a hard
link, so that of two processes that start at once one wins and the other reads what it wrote.
"""

import json
import logging
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path

from llmctl.core.errors import AuthError
from llmctl.core.logs import protect
from llmctl.core.paths import make_private

log = logging.getLogger(__name__)

TOKEN_PREFIX = "llmctl_"  # noqa: S105  what secret scanners look for, not a secret
ENGINE_KEY = "LLMCTL_BACKEND_API_KEY"
TENANT = "local"
"""Tenant of the token that llmctl makes for its own user."""
SEAL_KEY_FILE = "cache-seal.key"
_KEY_BYTES = 32


class Secret:
    """A value that shows as ``****`` wherever it is printed, formatted, dumped or pickled.

    Log lines and crash files mask it as well, should it get there as plain text.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        protect(value)

    def reveal(self) -> str:
        """Return the value itself: for the one place that must send or print it."""
        return self._value

    def __repr__(self) -> str:
        return "****"

    def __format__(self, _spec: str) -> str:
        return "****"

    def __reduce__(self) -> tuple[type["Secret"], tuple[str]]:
        return Secret, ("****",)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest  # with hashlib 3 ms, which reading commands do not pay

        return compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))


class TokenStore:
    """The proxy's tokens: digests for the server, one plain token for the client beside it.

    ``override`` is the token of ``LLMCTL_AUTH_TOKEN``: with it no file is read or written, the
    server accepts this token only and the client sends it.
    """

    def __init__(self, directory: Path, *, override: Secret | None = None) -> None:
        self._digests_file = directory / "tokens.json"
        self.token_file = directory / "token"
        self._override = override

    @property
    def shell_words(self) -> str:
        """What gives the token within double quotes in a POSIX shell, without showing it."""
        if self._override is not None:
            return "$LLMCTL_AUTH_TOKEN"
        return f"$(cat {shlex.quote(str(self.token_file))})"

    def load_or_create(self) -> tuple[dict[str, str], Secret | None]:
        """Return SHA-256 hex digest → tenant for the server, and the token if it was made now.

        Where nothing can be written, the token holds until the process ends. Raises ``AuthError``
        for files that others can read or that hold something else.
        """
        if self._override is not None:
            return {token_digest(self._override): TENANT}, None
        if (known := self._read_digests()) is not None:
            return known, None
        token = new_token()
        try:
            made = _create(self.token_file, token.reveal().encode() + b"\n")
            if not made:
                token = self._read_token()
            digests = {token_digest(token): TENANT}
            _create(self._digests_file, json.dumps(digests, indent=2).encode() + b"\n")
        except OSError as failure:
            log.warning("cannot keep the token in %s: %s", self.token_file, failure.strerror)
            return {token_digest(token): TENANT}, token
        return digests, token if made else None

    def client_token(self) -> Secret | None:
        """Return the token a client on this machine sends, None where there is none yet.

        Raises ``AuthError`` for a file that others can read.
        """
        if self._override is not None:
            return self._override
        try:
            return self._read_token()
        except FileNotFoundError:
            return None

    @property
    def digests_file(self) -> Path | None:
        """The server's file; None where the token is that of ``LLMCTL_AUTH_TOKEN``."""
        return None if self._override else self._digests_file

    def digests(self) -> dict[str, str]:
        """Return what the file has now, nothing where there is none; raises ``AuthError``."""
        return self._read_digests() or {}

    def keep(self, digests: Mapping[str, str]) -> None:
        """Put these digests in the place of what the file has; raises ``OSError``."""
        fresh = self._digests_file.with_name(f".tokens.{os.urandom(4).hex()}")
        _create(fresh, json.dumps(digests, indent=2).encode() + b"\n")
        fresh.replace(self._digests_file)

    def _read_token(self) -> Secret:
        text = _read(self.token_file).decode("ascii", "replace").strip()
        if not _is_sendable(text):
            raise AuthError(
                f"{self.token_file} holds no token",
                hint=f"rm {shlex.quote(str(self.token_file))} "
                f"{shlex.quote(str(self._digests_file))}, then restart llmctl serve",
            )
        return Secret(text)

    def _read_digests(self) -> dict[str, str] | None:
        try:
            known = json.loads(_read(self._digests_file))
        except FileNotFoundError:
            return None
        except ValueError:
            known = None
        if not isinstance(known, dict) or not known or not all(map(_is_entry, known.items())):
            raise AuthError(
                f"{self._digests_file} does not map SHA-256 digests to tenants",
                hint=f"rm {shlex.quote(str(self._digests_file))}, then restart llmctl serve",
            )
        return known


def token_from_environment(environ: Mapping[str, str]) -> Secret | None:
    """Return ``LLMCTL_AUTH_TOKEN``; raises ``AuthError`` where it cannot be sent in a header."""
    hint = "export LLMCTL_AUTH_TOKEN=llmctl_$(openssl rand -hex 32)"
    return _from_environment("LLMCTL_AUTH_TOKEN", environ, hint=hint)


def engine_key_from_environment(environ: Mapping[str, str]) -> Secret | None:
    """Return ``LLMCTL_BACKEND_API_KEY``, which engines behind ``openai:`` are sent.

    Raises ``AuthError`` where it cannot be sent in a header.
    """
    hint = f"export {ENGINE_KEY}=… with the key the engine was started with"
    return _from_environment(ENGINE_KEY, environ, hint=hint)


def _from_environment(name: str, environ: Mapping[str, str], *, hint: str) -> Secret | None:
    text = environ.get(name, "").strip()
    if not text:
        return None
    if not _is_sendable(text):
        raise AuthError(f"{name} holds characters that cannot be sent in a header", hint=hint)
    return Secret(text)


def install_secret(directory: Path) -> bytes:
    """Return the 32 bytes that key this installation's cache; made at the first call.

    Where nothing can be written, the key holds until the process ends, and what was cached with it
    is not found again. Raises ``AuthError`` for a file that others can read or of another length.
    """
    return _load_or_make_key(directory / "cache.key")


def cache_seal_key(directory: Path) -> bytes:
    """Return the 32 bytes that encrypt what is cached; made at the first call.

    Where nothing can be written, the key holds until the process ends, and what was cached with it
    cannot be read again. Raises ``AuthError`` as ``install_secret`` does.
    """
    return _load_or_make_key(directory / SEAL_KEY_FILE)


def drop_cache_seal_key(directory: Path) -> None:
    """Put a new key in the place of the one that encrypts: what is cached can never be read again.

    Copies of it, such as on other machines or in backups, are not reached. Raises ``AuthError``
    where the old one cannot be removed.
    """
    path = directory / SEAL_KEY_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as failure:
        raise AuthError(f"cannot remove {path}: {failure.strerror}") from failure
    cache_seal_key(directory)


def _load_or_make_key(path: Path) -> bytes:
    key = os.urandom(_KEY_BYTES)
    try:
        if not path.exists() and _create(path, key):
            return key
        key = _read(path)
    except OSError as failure:
        log.warning("cannot keep the cache key in %s: %s", path, failure.strerror)
        return key
    if len(key) != _KEY_BYTES:
        raise AuthError(
            f"{path} holds {len(key)} bytes instead of {_KEY_BYTES}",
            hint=f"rm {shlex.quote(str(path))}; what is cached now will not be found again",
        )
    return key


def new_token() -> Secret:
    """Return a token of 256 random bits."""
    from secrets import token_urlsafe

    return Secret(TOKEN_PREFIX + token_urlsafe(_KEY_BYTES))


def token_digest(token: Secret) -> str:
    """Return what the server keeps of a token."""
    from hashlib import sha256

    return sha256(token.reveal().encode()).hexdigest()


def _is_sendable(text: str) -> bool:
    return bool(text) and all("!" <= character <= "~" for character in text)


def _is_entry(entry: tuple[str, object]) -> bool:
    digest, tenant = entry
    hexadecimal = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
    return hexadecimal and isinstance(tenant, str) and bool(tenant)


def _create(path: Path, content: bytes) -> bool:
    """Write a new file of mode 0600 as a whole; False where it exists already."""
    make_private(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a umask may have taken our own rights away
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _read(path: Path) -> bytes:
    """Return the content of a file that nobody else can read, in a directory only we change.

    Raises ``FileNotFoundError``, or ``AuthError`` for everything else that is wrong.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            shared = stat.S_IMODE(path.parent.stat().st_mode)
            content = file.read()
    except (FileNotFoundError, NotADirectoryError) as absent:
        raise FileNotFoundError(path) from absent
    except OSError as failure:
        raise AuthError(f"cannot read {path}: {failure.strerror}") from failure
    if mode & 0o077:
        raise AuthError(
            f"{path} is open to other users (mode {mode:04o})",
            hint=f"chmod 600 {shlex.quote(str(path))}",
        )
    if shared & 0o022:
        raise AuthError(
            f"{path.parent} can be changed by other users (mode {shared:04o})",
            hint=f"chmod 700 {shlex.quote(str(path.parent))}",
        )
    return content
