from collections.abc import AsyncIterator

import pytest

from tests.emulators.market import ManualClock, Market
from tests.emulators.runpod import RunPod


@pytest.fixture
async def runpod(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunPod]:
    """RunPod in virtual time, where the official package finds it."""
    async with RunPod(Market(ManualClock())) as emulator:
        monkeypatch.setenv("RUNPOD_API_BASE_URL", emulator.url)
        yield emulator
