"""Where llmctl keeps its files; ``LLMCTL_HOME`` puts all of them below one directory."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct


class Paths(Struct, frozen=True, kw_only=True):
    """Directories that may not exist yet."""

    config: Path
    data: Path
    """Tokens, keys and models: what a backup should hold."""
    cache: Path
    log: Path
    state: Path
    """The ledger, and what is rented."""

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def ledger_file(self) -> Path:
        return self.state / "ledger.db"

    @property
    def rentals_file(self) -> Path:
        return self.state / "rentals.db"


def make_private(directory: Path) -> None:
    """Create what is missing of a path with mode 0700, whatever the umask; raises ``OSError``.

    Missing parents as well: who can rename one can swap what is in it. The XDG Base Directory
    Specification asks for the same.
    """
    chain = [directory, *directory.parents]
    for missing in reversed([place for place in chain if not place.exists()]):
        try:
            missing.mkdir(mode=0o700)
        except FileExistsError:  # somebody else was quicker
            continue
        missing.chmod(0o700)  # a umask may have taken our own rights away


def write_private(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of a file as a whole, mode 0600 whatever the umask.

    Its directory is made as ``make_private`` does. Raises ``OSError``.
    """
    make_private(path.parent)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)
            file.write(content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def find_paths(environ: Mapping[str, str]) -> Paths:
    """Return the directories of this user, by the platform's own rules, or of ``LLMCTL_HOME``."""
    if home := environ.get("LLMCTL_HOME"):
        root = Path(home).expanduser().absolute()
        return Paths(
            config=root / "config",
            data=root / "data",
            cache=root / "cache",
            log=root / "log",
            state=root / "state",
        )
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("llmctl", appauthor=False)
    return Paths(
        config=dirs.user_config_path,
        data=dirs.user_data_path,
        cache=dirs.user_cache_path,
        log=dirs.user_log_path,
        state=dirs.user_state_path,
    )
