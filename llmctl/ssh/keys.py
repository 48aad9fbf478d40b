"""The one SSH key of this installation: made here, never taken from the operator's own."""

import os
import re
import secrets
import shlex
import socket
import stat
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from llmctl.core.errors import AuthError
from llmctl.core.paths import make_private


class Key(Struct, frozen=True, kw_only=True):
    """A private key and the line that lets it in."""

    private: paramiko.PKey
    public_line: str
    """``ssh-ed25519 AAAA… llmctl-<host>``: one line of ``authorized_keys``."""
    path: Path
    """The file of the private key."""


def load_or_make_key(directory: Path, name: str = "id_ed25519") -> Key:
    """Return the key in ``directory / name``, an OpenSSH private key of mode 0600; made once.

    Of two processes that make it at once one wins and the other reads it. Raises ``AuthError`` for
    a file that others can read, that holds no Ed25519 key, or that cannot be written.
    """
    path = directory / name
    try:
        if not path.exists():
            _make(path)
        private = _read(path)
    except OSError as failure:
        raise AuthError(f"cannot keep the SSH key in {path}: {failure.strerror}") from failure
    line = f"{private.get_name()} {private.get_base64()} {_comment()}"
    return Key(private=private, public_line=line, path=path)


def _comment() -> str:
    return "llmctl-" + (re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()) or "host")


def _make(path: Path) -> None:
    """Write a new key as a whole; where the file exists by then, that one stays."""
    make_private(path.parent)
    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # a umask may have taken our own rights away
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _read(path: Path) -> paramiko.PKey:
    with path.open() as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise AuthError(
                f"{path} is open to other users (mode {mode:04o})",
                hint=f"chmod 600 {shlex.quote(str(path))}",
            )
        try:
            return paramiko.Ed25519Key.from_private_key(file)
        except (paramiko.SSHException, ValueError) as failure:
            raise AuthError(
                f"{path} holds no Ed25519 key that can be read without a passphrase: {failure}",
                hint=f"mv {shlex.quote(str(path))}{{,.old}}; a new one is made at the next start",
            ) from failure
