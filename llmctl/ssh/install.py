"""Which Ollama is installed from where, and the progress of it; the work is in ``install.sh``."""

import re
import time
from collections.abc import Callable

from msgspec import Struct

from llmctl.core.errors import ConfigError, RemoteFailed
from llmctl.core.rental import Step, StepState
from llmctl.ssh.remote import Remote
from llmctl.ssh.scripts import STATE, packaged

MINIMUM_VERSION = (0, 17, 1)
"""Closed CVE-2026-7482."""
ARCHIVE_URL = (
    "https://github.com/ollama/ollama/releases/download/v{version}/ollama-linux-{arch}.tar.zst"
)
CHECKSUMS = {
    "0.33.0": {
        "amd64": "72c4b9d91c317742ffd11b92e0a7fbe6353072c6354d910f1a03fd3ce40403d4",
        "arm64": "c09f5ae1fc90f70ac6e19e325bd958d9c8c02c29ec0908785c21672fab5f4ee4",
    },
    "0.32.7": {
        "amd64": "ed1e39fe8fea90bd7f4c723bd949a2cea3153e111220ec0a183ea5b8dc8b2cae",
        "arm64": "413cb50f2fd201b65e17e563c082607bc0ade60d700132c563c7a1c0cd529fde",
    },
}
"""SHA-256 of the Linux archives, by version and architecture, as package collections pin them."""
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_NAME = "install"


class OllamaInstall(Struct, frozen=True, kw_only=True):
    """What is to be installed."""

    version: str
    url: str | None = None
    """Another source than the release of ``version``, for mirrors."""
    sha256: str | None = None
    """Of the archive at ``url``; without one the pinned table must know ``version``."""
    prefix: str | None = None
    """``/usr/local`` for root, else ``~/.local``, unless said otherwise."""


class Archive(Struct, frozen=True, kw_only=True):
    """An archive that may be installed, because its checksum is known."""

    url: str
    sha256: str


def archive_of(wanted: OllamaInstall, machine: str) -> Archive:
    """Return the archive for a machine (``uname -m``); ``ConfigError`` where none is safe."""
    check_version(wanted.version, what="ollama.version")
    arch = _ARCHITECTURES.get(machine)
    known = CHECKSUMS.get(wanted.version, {}).get(arch or "")
    if wanted.url is None and arch is None:
        raise ConfigError(f"there is no Ollama for {machine}; it runs on x86_64 and aarch64")
    sha256 = wanted.sha256 or known
    if sha256 is None:
        raise ConfigError(
            f"no SHA-256 is known for Ollama {wanted.version} on {machine}, so it is not installed",
            hint="set ollama.archive_url and ollama.archive_sha256, or one of the pinned versions: "
            + ", ".join(CHECKSUMS),
        )
    url = wanted.url or ARCHIVE_URL.format(version=wanted.version, arch=arch)
    if any(mark in url for mark in " \n\t"):
        raise ConfigError(f"ollama.archive_url is no URL: {url!r}")
    return Archive(url=url, sha256=sha256.lower())


def check_version(version: str, *, what: str) -> None:
    """Raise ``ConfigError`` for a version that must not be run."""
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        raise ConfigError(f"{what} is {version!r}, not a version such as 0.33.0")
    if tuple(map(int, numbers.groups())) < MINIMUM_VERSION:
        raise ConfigError(
            f"{what} is {version}; what is below 0.17.1 has the hole CVE-2026-7482 and is not run"
        )


async def install(remote: Remote, wanted: OllamaInstall, report: Callable[[Step], None]) -> str:
    """Install Ollama and return its version; idempotent, and resumed after a break.

    Raises ``ConfigError`` for what must not be installed, ``RemoteFailed`` with the machine's own
    words, ``SshError`` when the link breaks.
    """
    begin = time.monotonic()
    archive = archive_of(wanted, (await remote.run("uname -m")).stdout.strip())
    told = f"{archive.url} {archive.sha256} {wanted.version} {wanted.prefix or '-'}\n"
    report(Step(name=_NAME, state=StepState.BEGIN, text=f"Ollama {wanted.version}"))
    version, meter = None, _Meter(begin)
    async for line in remote.follow(STATE + packaged("install.sh"), stdin=told.encode()):
        match line.split(" ", 2):
            case ["progress", done, total]:
                report(meter.step(int(done), int(total)))
            case ["note", *words]:
                text = " ".join(words)
                elapsed = time.monotonic() - begin
                report(Step(name=_NAME, state=StepState.PROGRESS, text=text, elapsed_s=elapsed))
            case ["installed", number, _]:
                version = number
    if version is None:
        raise RemoteFailed(f"{remote.where} did not say that Ollama is installed")
    _check_installed(version, remote.where)
    elapsed = time.monotonic() - begin
    text = f"Ollama {version} is in place"
    report(Step(name=_NAME, state=StepState.DONE, text=text, elapsed_s=elapsed))
    return version


def _check_installed(version: str, where: str) -> None:
    try:
        check_version(version, what=f"the Ollama on {where}")
    except ConfigError as refused:
        raise RemoteFailed(refused.message) from refused


class _Meter:
    """Rate of a download since it began here; what was there before does not count."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._first: tuple[float, int] | None = None

    def step(self, done: int, total: int) -> Step:
        now = time.monotonic()
        at, had = self._first = self._first or (now, done)
        rate = (done - had) / (now - at) if now > at else None
        return Step(
            name=_NAME,
            state=StepState.PROGRESS,
            text="downloading Ollama",
            done_bytes=done,
            total_bytes=total or None,
            bytes_per_s=rate,
            elapsed_s=now - self._begin,
        )
