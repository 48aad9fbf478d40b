"""Every test has directories of its own and an environment without the operator's settings."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# how long one example takes says more about the machine than about the code
settings.register_profile(
    "llmctl", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("llmctl")

SCRUBBED_PREFIXES = (
    "LLMCTL_",
    "REDIS_",
    "RUNPOD_",
    "VAST_",
    "OLLAMA_",
    "ANTHROPIC_",
    "CLAUDE_",
    "XDG_",
    "DISABLE_",
)
SCRUBBED_NAMES = (
    "API_PORT",
    "API_TIMEOUT_MS",
    "CLAUDECODE",
    "COLUMNS",
    "FORCE_COLOR",
    "TERMINAL_WIDTH",
    "CI",
)
DISTUTILS = "ignore:The distutils package is deprecated:DeprecationWarning"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def pytest_configure(config: pytest.Config) -> None:
    # a market's package imports distutils; once pip has been named, that is Python's own again
    config.addinivalue_line("filterwarnings", DISTUTILS)


@pytest.fixture(autouse=True)
def llmctl_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``LLMCTL_HOME`` of this test: configuration, data, cache, logs and state all live below it."""
    for name in list(os.environ):
        if name.startswith(SCRUBBED_PREFIXES) or name in SCRUBBED_NAMES or name.upper() in PROXIES:
            monkeypatch.delenv(name)
    home = tmp_path / "llmctl-home"
    monkeypatch.setenv("LLMCTL_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path / "user-home"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    return home
