"""A machine with an engine behind it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.integration.tunnel.engine import Engine
from tests.integration.tunnel.machine import Machine, running


@pytest.fixture(scope="module")
def shared_machine() -> Iterator[Machine]:
    """One for all tests of a module that do it no harm."""
    with running() as machine:
        yield machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    """One for a test alone, which may kill it."""
    with running() as machine:
        yield machine


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """What listens behind the machine."""
    engine = Engine()
    await engine.start()
    yield engine
    await engine.close()
