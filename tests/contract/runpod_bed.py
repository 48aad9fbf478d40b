"""RunPod for the contract suite: the emulator, and the adapter with its SDK pointed at it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmctl.core.rental import ProviderName
from llmctl.providers.runpod.adapter import RunPodProvider
from llmctl.providers.runpod.api import Patience
from tests.contract.bed import Bed
from tests.emulators.market import ManualClock, Market
from tests.emulators.runpod import RunPod

USUAL = Patience(log_pause_s=0.2)
HASTY = Patience(request_s=0.5, create_s=0.5, package_s=3, log_pause_s=0.2)
FAULTS = {"offer_gone": "no_capacity", "bad_request": "schema"}
FATES = {"dead": "error", "no_address": "no_ssh"}


@asynccontextmanager
async def open_bed() -> AsyncIterator[Bed]:
    clock = ManualClock()
    market = Market(clock)
    before = os.environ.get("RUNPOD_API_BASE_URL")
    async with RunPod(market) as emulator:
        # the package reads it on every call
        os.environ["RUNPOD_API_BASE_URL"] = emulator.url
        opened: list[RunPodProvider] = []

        def with_key(key: str, patience: Patience = USUAL) -> RunPodProvider:
            hint = f"test, …{key[-4:]}"
            provider = RunPodProvider(key, key_hint=hint, sleep=clock.sleep, patience=patience)
            opened.append(provider)
            return provider

        def set_fate(fate: str | None) -> None:
            emulator.pods.fate = FATES.get(fate or "", fate)

        def poison(operation: str, fault: str, times: int = 1) -> None:
            fault = FAULTS.get(fault, fault)
            if operation == "account":
                market.faults.add("graphql_myself", fault, times=times)
                market.faults.add("list", fault, times=times)  # what it asks where GraphQL fails
            elif operation == "offers":
                market.faults.add("catalog", fault, times=times)
            elif operation == "destroy":
                market.faults.add("destroy", fault, times=times)
                if times < 0:
                    market.faults.add("graphql_destroy", fault, times=times)
            else:
                market.faults.add(operation, fault, times=times)

        try:
            yield Bed(
                name=ProviderName.RUNPOD,
                market=market,
                clock=clock,
                provider=with_key(emulator.key),
                hasty=with_key(emulator.key, HASTY),
                with_key=with_key,
                foreign=lambda count: [emulator.add_foreign() for _ in range(count)],
                set_fate=set_fate,
                poison=poison,
                features=frozenset({"stop", "logs", "credit"}),
                operations={"account": "graphql_myself", "offers": "catalog"},
            )
        finally:
            for provider in opened:
                await provider.close()
            if before is None:
                del os.environ["RUNPOD_API_BASE_URL"]
            else:
                os.environ["RUNPOD_API_BASE_URL"] = before
