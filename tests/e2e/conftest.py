"""Proxies and clients for the end-to-end tests; each test has its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.e2e.claude_code import ClaudeCode, claude_binary
from tests.e2e.processes import Proxy
from tests.embedded_model import small_model

__all__ = ["claude_binary", "small_model"]

Serve = Callable[..., Awaitable[Proxy]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts ``llmctl serve ARGUMENTS`` with ``LLMCTL_…`` settings, on a free port.

    Each call has a home of its own unless ``home`` says otherwise. At the end all of them are
    stopped with SIGTERM, must exit with 0 and may not have logged a traceback.
    """
    started: list[Proxy] = []

    async def start(*arguments: str, home: str | None = None, **settings: str) -> Proxy:
        directory = tmp_path / (home or f"llmctl-home-{len(started)}")
        proxy = Proxy(directory, arguments, settings)
        await proxy.start()
        started.append(proxy)
        return proxy

    yield start
    problems = []
    for proxy in started:
        try:
            await proxy.stop()
        except AssertionError as problem:
            problems.append(str(problem))
    assert not problems, "\n\n".join(problems)


@pytest.fixture
def claude(claude_binary: Path, tmp_path: Path) -> ClaudeCode:
    return ClaudeCode(claude_binary, tmp_path)
