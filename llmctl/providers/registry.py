"""The markets by name: made from a key and the environment, their packages imported only then."""

from collections.abc import Mapping

from msgspec import Struct

from llmctl.core.rental import ProviderName
from llmctl.providers.base import Provider

_NAMES = {ProviderName.VAST: "vast.ai", ProviderName.RUNPOD: "RunPod"}
_URLS = {
    ProviderName.VAST: (("LLMCTL_VAST_URL", "VAST_URL"), "https://console.vast.ai"),
    ProviderName.RUNPOD: (("RUNPOD_API_BASE_URL",), "https://api.runpod.io"),
}
"""The packages' own variables, so that mirrors and emulators work as they do for them."""


class ProviderAccess(Struct, frozen=True, kw_only=True):
    """What opens one account."""

    key: str
    hint: str
    """Where the key comes from and its last four characters, for messages."""

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"ProviderAccess({self.hint})"


def open_providers(
    access: Mapping[ProviderName, ProviderAccess], environ: Mapping[str, str]
) -> dict[ProviderName, Provider]:
    """Return an adapter for each key, in the order of the keys; nothing is asked yet.

    The markets' packages cost seconds to import: each adapter does that at its first call, and
    the adapters themselves are imported here. Whoever gets them closes them.
    """
    return {name: _open(name, each, environ) for name, each in access.items()}


def market_name(name: ProviderName) -> str:
    """Return what people call a market: ``vast.ai``, ``RunPod``."""
    return _NAMES.get(name, name.value)


def api_url(name: ProviderName, environ: Mapping[str, str]) -> str:
    """Return the base URL of a market's API, without a path; empty for machines not rented."""
    if name not in _URLS:
        return ""
    variables, usual = _URLS[name]
    chosen = next((environ[each] for each in variables if environ.get(each)), usual)
    return chosen.rstrip("/")


def _open(name: ProviderName, access: ProviderAccess, environ: Mapping[str, str]) -> Provider:
    if name is ProviderName.VAST:
        from llmctl.providers.vast.adapter import VastProvider

        return VastProvider(access.key, key_hint=access.hint, base_url=api_url(name, environ))
    if name is ProviderName.RUNPOD:
        from llmctl.providers.runpod.adapter import RunPodProvider

        return RunPodProvider(access.key, key_hint=access.hint)
    raise ValueError(f"{name.value} is no market: nothing is rented there")
