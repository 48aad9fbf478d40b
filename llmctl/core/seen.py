"""Names seen lately, kept in small files, so that a shell can complete them without asking anybody.

Losing them costs nothing: reading and writing fail in silence.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from llmctl.core.paths import write_private

MOST = 200


def keep(directory: Path, kind: str, names: Iterable[str]) -> None:
    """Add names of one kind, such as ``models``; the latest come first, the oldest are dropped."""
    known = dict.fromkeys(name for name in (*names, *seen(directory, kind)) if name.isprintable())
    lines = "".join(f"{name}\n" for name in list(known)[:MOST])
    with suppress(OSError):
        write_private(directory / kind, lines.encode())


def seen(directory: Path, kind: str) -> list[str]:
    """Return the names of one kind, the latest first."""
    try:
        return (directory / kind).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
