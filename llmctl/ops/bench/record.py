"""Results that are kept: one JSON line for each run, newest last."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from llmctl.core.errors import LlmctlError
from llmctl.core.paths import Paths, make_private
from llmctl.core.reports_bench import Bench

_decode = msgspec.json.Decoder(Bench).decode


def record_file(paths: Paths) -> Path:
    """Return where results are kept."""
    return paths.state / "bench.jsonl"


def keep(path: Path, bench: Bench) -> None:
    """Add a result; raises ``LlmctlError`` where it cannot be written."""
    line = msgspec.json.encode(bench) + b"\n"
    try:
        make_private(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line)
    except OSError as failure:
        raise LlmctlError(
            f"the result is not kept: {path} cannot be written: {failure.strerror}",
            hint=f"ls -ld {path.parent}",
        ) from failure


def kept(path: Path) -> list[Bench]:
    """Return the results, oldest first; lines that cannot be read are left out.

    Raises ``LlmctlError`` where the file cannot be read at all.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise LlmctlError(f"{path} cannot be read: {failure.strerror}") from failure
    found = []
    for line in lines:
        try:
            found.append(_decode(line))
        except msgspec.MsgspecError:  # cut by a crash, or of a later llmctl
            continue
    return sorted(found, key=lambda each: each.at)


def before(results: Sequence[Bench], bench: Bench) -> Bench | None:
    """Return the last earlier result for the same model on the same machine."""
    same = [
        each
        for each in results
        if (each.name, each.model) == (bench.name, bench.model) and each.at < bench.at
    ]
    return same[-1] if same else None
