"""The markets the suite runs for."""

import importlib
from collections.abc import AsyncIterator

import pytest

from tests.contract.bed import Bed

BEDS = ("vast", "runpod")
"""Each is a module ``tests.contract.<name>_bed`` with ``open_bed()``, an async context manager."""


@pytest.fixture(params=BEDS)
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    module = importlib.import_module(f"tests.contract.{request.param}_bed")
    async with module.open_bed() as opened:
        yield opened
