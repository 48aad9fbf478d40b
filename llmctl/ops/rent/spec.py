"""What ``up`` is asked for: flags over the profile over configuration, as one ``UpSpec``. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from llmctl.config.load import Loaded
from llmctl.config.schema import ProfileConfig
from llmctl.core.errors import AuthError, ConfigError, NotFound
from llmctl.core.gpus import find_gpus
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import ProviderName, Rental, SshAddress, UpSpec

BUILT_IN = {
    "cheap": ProfileConfig(
        description="the cheapest RTX 4090, also in private homes; ends after half an hour idle",
        gpu="rtx4090",
        max_price="0.60",
        min_reliability=0.95,
        idle_s=1800.0,
    ),
    "fast": ProfileConfig(
        description="an H100 with 262,144 tokens of context and two answers at once",
        gpu="h100",
        max_price="4.00",
    ),
    "small": ProfileConfig(
        description="qwen2.5-coder:7b on the cheapest 24 GB card, to try things out",
        gpu="rtx3090",
        model="qwen2.5-coder:7b",
        max_price="0.40",
        min_reliability=0.95,
        ttl_s=7200.0,
        idle_s=1800.0,
    ),
}

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_SETTINGS = {"model": "model.name", "num_ctx": "model.num_ctx"} | {
    name: f"ollama.{name}" for name in ("kv_cache_type", "parallel")
}
_ALONE = (ProviderName.HOST, ProviderName.LOCAL)
_WHERE = ("rent.provider", "rent.host")


def profiles(loaded: Loaded) -> dict[str, ProfileConfig]:
    """Return the built-in profiles and the operator's own, which replace those of the same name."""
    return BUILT_IN | loaded.config.profile


def find_profile(loaded: Loaded, name: str) -> ProfileConfig:
    """Return one profile; raises ``NotFound``."""
    known = profiles(loaded)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "llmctl profile list"
        raise NotFound(f"there is no profile called {name!r}", hint=hint)
    return known[name]


def make_spec(
    loaded: Loaded,
    name: str,
    *,
    profile: str | None = None,
    keys: Collection[ProviderName],
    keep: bool = False,
    existing: Rental | None = None,
) -> UpSpec:
    """Return what is asked for; ``keys`` are the markets whose key is there.

    A flag beats the profile, the profile beats variables and the file. ``existing`` is what has
    that name already: a machine of one's own need not be named again. Raises ``ConfigError`` for
    what cannot be meant, ``AuthError`` when a market's key is missing.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"an instance cannot be called {name!r}: lower-case letters, digits, -")
    chosen = find_profile(loaded, profile) if profile else ProfileConfig()
    values = {field: _value(loaded, chosen, field) for field in _FIELDS}
    wanted, host = values.pop("provider"), values.pop("host")
    if existing is not None and not existing.provider.paid and not _flagged(loaded, *_WHERE):
        wanted, host = [existing.provider], existing.spec.host
    elif not wanted and _flagged(loaded, "rent.host"):
        wanted = [ProviderName.HOST]
    providers = _providers(wanted, host, keys)
    try:
        gpus = find_gpus(values["gpu"])
    except ValueError as reason:
        raise ConfigError(str(reason)) from None
    price = values.pop("max_price")
    cap = micro_usd(price) if price else _usual_cap(gpus, values["gpu_count"])
    timed = _flagged(loaded, "rent.ttl_s", "rent.idle_s")
    return UpSpec(
        name=name,
        providers=providers,
        max_usd_per_hour=cap,
        host=_address(host) if host and providers == (ProviderName.HOST,) else None,
        timed=timed,
        keep=keep,
        **values,
    )


def parse_host(text: str) -> SshAddress:
    """Read ``user@address:port``; user defaults to root, port to 22. Raises ``ConfigError``."""
    user, _, rest = text.strip().rpartition("@")
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d+))?|([^:\s]+)(?::(\d+))?", rest)
    if match is None:
        match = re.fullmatch(r"([0-9A-Fa-f:]+)()()()", rest) if rest.count(":") > 1 else None
    if match is None:
        raise ConfigError(
            f"{text!r} is no address of a machine", hint="llmctl up --host user@address:port"
        )
    port = int(match[2] or match[4] or 22)
    if not 0 < port < 65536:
        raise ConfigError(f"{port} is no port", hint="llmctl up --host user@address:port")
    return SshAddress(host=match[1] or match[3], port=port, user=user or "root")


def _address(host: str | SshAddress) -> SshAddress:
    return parse_host(host) if isinstance(host, str) else host


_FIELDS = (
    "provider", "gpu", "gpu_count", "model", "num_ctx", "kv_cache_type", "parallel", "max_price",
    "region", "min_reliability", "spot", "ttl_s", "idle_s", "disk_gb", "volume", "host",
)  # fmt: skip


def _flagged(loaded: Loaded, *keys: str) -> bool:
    return any(loaded.origins[key].kind == "flag" for key in keys)


def _value(loaded: Loaded, profile: ProfileConfig, field: str) -> Any:
    key = _SETTINGS.get(field, f"rent.{field}")
    section, _, name = key.partition(".")
    configured = getattr(getattr(loaded.config, section), name)
    wanted = getattr(profile, field)
    return configured if wanted is None or loaded.origins[key].kind == "flag" else wanted


def _providers(
    wanted: Sequence[str], host: str | SshAddress | None, keys: Collection[ProviderName]
) -> tuple[ProviderName, ...]:
    names = tuple(dict.fromkeys(ProviderName(each) for each in wanted))
    if not names:
        names = tuple(name for name in ProviderName if name in keys)
    if not names:
        raise AuthError(
            "there is no key for a market to rent from",
            hint="llmctl auth login runpod, or for a machine you have: llmctl up --host ADDRESS",
        )
    alone = [name for name in names if name in _ALONE]
    if alone and len(names) > 1:
        raise ConfigError(f"{alone[0].value} cannot be combined with other providers")
    if names == (ProviderName.HOST,) and not host:
        raise ConfigError("which machine?", hint="llmctl up --host user@address:port")
    missing = [name for name in names if name.paid and name not in keys]
    if missing:
        raise AuthError(
            f"there is no API key for {missing[0].value}",
            hint=f"llmctl auth login {missing[0].value}",
        )
    return names


def _usual_cap(gpus: Any, count: int) -> MicroUsd:
    return MicroUsd(max(micro_usd(gpu.max_price) for gpu in gpus) * count)


def profile_fields(profile: ProfileConfig) -> Mapping[str, Any]:
    """Return what a profile says, without what it leaves open."""
    fields = msgspec.to_builtins(profile)
    return {name: value for name, value in fields.items() if value is not None and value != ""}
