"""vast.ai's adapter, through the real package, against the emulator."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.bed import Bed
from tests.contract.vast_bed import open_bed
from tests.emulators.vast import VastEmulator


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    async with open_bed() as opened:
        yield opened


@pytest.fixture
def vast(bed: Bed) -> VastEmulator:
    assert isinstance(bed.emulator, VastEmulator)
    return bed.emulator
