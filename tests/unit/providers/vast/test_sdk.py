"""Which addresses are this machine's own."""

import pytest

from llmctl.providers.vast.sdk import is_loopback


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:8080/x", True),
        ("http://[::1]/", True),
        ("https://localhost", True),
        ("https://console.vast.ai/", False),
        ("nonsense", False),
    ],
)
def test_loopback(url: str, loopback: bool):
    assert is_loopback(url) is loopback
