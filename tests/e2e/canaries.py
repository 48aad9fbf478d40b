"""Secrets that are planted to be looked for: as they are, and in the forms in which they leak."""

import base64
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote


class Canary:
    """One secret under a name; with characters that look different in URLs and in JSON."""

    def __init__(self, name: str, value: str | None = None) -> None:
        self.name = name
        self.value = value or f"canary-{secrets.token_hex(12)}+/&{secrets.token_hex(12)}"
        self.forms = tuple(_forms(self.value.encode()))

    def in_(self, data: bytes) -> bool:
        return any(form in data for form in self.forms)


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield value.hex().encode()
    yield value.hex().upper().encode()
    yield quote(value, safe="").encode()
    yield value.replace(b"/", b"\\/")
    for before in range(3):  # base64 depends on where in its text a value begins
        encoded = base64.b64encode(b"\0" * before + value)
        inner = encoded[4 if before else 0 : -4]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def found(canaries: Iterable[Canary], where: str, data: bytes) -> list[str]:
    """Name the canaries in ``data``."""
    return [f"{canary.name} in {where}" for canary in canaries if canary.in_(data)]


def in_files(canaries: Iterable[Canary], place: Path, *, but: Iterable[Path] = ()) -> list[str]:
    """Name the canaries in the names and contents of files below ``place``."""
    canaries, but = list(canaries), set(but)
    hits = []
    for path in sorted(place.rglob("*")):
        hits += found(canaries, f"the name {path}", str(path).encode())
        if path.is_file() and path not in but:
            hits += found(canaries, str(path), path.read_bytes())
    return hits


def open_to_others(place: Path) -> list[str]:
    """Name files that are not 0600 and directories that are not 0700."""
    wrong = []
    for path in (place, *sorted(place.rglob("*"))):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            continue
        allowed = 0o700 if path.is_dir() else 0o600
        if mode & ~allowed:
            wrong.append(f"{path} {mode:04o}")
    return wrong
