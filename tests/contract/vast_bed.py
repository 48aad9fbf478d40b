"""vast.ai for the suite."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from llmctl.core.rental import ProviderName
from llmctl.providers.vast.adapter import VastProvider
from tests.contract.bed import Bed
from tests.emulators.market import ManualClock, Market
from tests.emulators.vast import VastEmulator

FATES = {"dead": "oci_error", "no_address": "no_ssh"}


@asynccontextmanager
async def open_bed() -> AsyncIterator[Bed]:
    clock = ManualClock()
    market = Market(clock)
    async with VastEmulator(market) as vast:

        def provider(key: str, **settings: Any) -> VastProvider:
            settings = {"key_hint": f"…{key[-4:]}", "base_url": vast.url} | settings
            return VastProvider(key, clock=clock, sleep=clock.sleep, **settings)

        def set_fate(fate: str | None) -> None:
            vast.contracts.fate = FATES.get(fate or "", fate)

        yield Bed(
            name=ProviderName.VAST,
            market=market,
            clock=clock,
            provider=provider(vast.key),
            hasty=provider(vast.key, timeout_s=0.5),
            with_key=provider,
            foreign=vast.contracts.foreign,
            set_fate=set_fate,
            poison=lambda operation, fault, **more: market.faults.add(operation, fault, **more),
            emulator=vast,
            features=frozenset({"stop", "logs", "credit", "spot", "pages", "machine_key"}),
        )
