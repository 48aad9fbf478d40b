"""API keys of the markets: where they are looked for, and where ``auth login`` keeps them."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from llmctl.config.secrets import Secret
from llmctl.core.errors import AuthError, ConfigError
from llmctl.core.paths import make_private
from llmctl.core.rental import ProviderName

VARIABLES = {ProviderName.VAST: "VAST_API_KEY", ProviderName.RUNPOD: "RUNPOD_API_KEY"}
_SHOWN = 4


class ProviderKey(Struct, frozen=True, kw_only=True):
    """A key and where it came from."""

    secret: Secret
    source: str

    @property
    def hint(self) -> str:
        """Say which key this is without giving it away."""
        return f"{self.source}, ends in {self.secret.reveal()[-_SHOWN:]}"


def find_key(
    provider: ProviderName,
    environ: Mapping[str, str],
    data: Path,
    *,
    key_file: Path | None = None,
) -> ProviderKey | None:
    """Return the key of one market, None where there is none.

    A file given on the command line comes first, then the market's own variable, then what
    ``llmctl auth login`` kept. Raises ``AuthError`` for a file that is empty, missing though it was
    named, or readable by others.
    """
    if key_file is not None:
        return ProviderKey(secret=_read(key_file), source=str(key_file))
    variable = VARIABLES[provider]
    if value := environ.get(variable, "").strip():
        return ProviderKey(secret=Secret(value), source=variable)
    kept = key_path(data, provider)
    if kept.exists():
        return ProviderKey(secret=_read(kept), source=str(kept))
    return None


def key_path(data: Path, provider: ProviderName) -> Path:
    """Return where ``auth login`` keeps a key."""
    return data / "keys" / f"{provider.value}.key"


def keep_key(data: Path, provider: ProviderName, key: str) -> Path:
    """Keep a key in a file of mode 0600, in place of the one before; raises ``ConfigError``."""
    key = key.strip()
    if not key or len(key.split()) != 1:
        raise ConfigError(
            "a key is one word, and this is not", hint="paste it once, without blanks"
        )
    path = key_path(data, provider)
    make_private(path.parent)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(key + "\n")
    fresh.replace(path)
    return path


def forget_key(data: Path, provider: ProviderName) -> bool:
    """Remove a kept key; tell whether there was one."""
    path = key_path(data, provider)
    existed = path.exists()
    path.unlink(missing_ok=True)
    return existed


def _read(path: Path) -> Secret:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as failure:
        reason = getattr(failure, "strerror", None) or "it is not text"
        raise AuthError(f"the key file {path} cannot be read: {reason}") from failure
    if stat.S_ISREG(mode) and mode & 0o077:
        raise AuthError(f"other users can read the key file {path}", hint=f"chmod 600 {path}")
    if not text:
        raise AuthError(f"the key file {path} is empty")
    return Secret(text)
