import pytest

from llmctl.backend.address import engine_address
from llmctl.core.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://127.0.0.1:11434/", "http://127.0.0.1:11434"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost", "http://localhost:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("[::]:5000", "http://[::1]:5000"),
        ("[::1]", "http://[::1]:11434"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://ollama.example.com", "https://ollama.example.com:443"),
        ("https://example.com/llm/ollama/", "https://example.com:443/llm/ollama"),
        ("gpu-box:11434/ollama", "http://gpu-box:11434/ollama"),
        ("HTTP://GPU-Box:1", "http://gpu-box:1"),
        ("  'http://127.0.0.1:11434'  ", "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
    ],
)
def test_every_form_becomes_one_address(written: str, address: str) -> None:
    assert engine_address(written, default_port=11434) == address


def test_the_default_port_is_the_callers() -> None:
    assert engine_address("gpu-box", default_port=8080) == "http://gpu-box:8080"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("ftp://host", "unknown scheme ftp"),
        ("host:port", "Port could not be cast"),
        ("host:99999", "Port out of range"),
        ("my host:80", "is not a host name"),
        ("http://host/?key=1", "a query or a fragment"),
        ("http://[::1", "Invalid IPv6 URL"),
    ],
)
def test_what_is_no_address_is_told(written: str, reason: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of an engine") as caught:
        engine_address(written, default_port=11434)
    assert reason in caught.value.message
    assert caught.value.hint is not None
    assert "http://127.0.0.1:11434" in caught.value.hint


def test_a_password_in_the_address_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="a user name has no place") as caught:
        engine_address("http://me:secret@host:1", default_port=11434)
    assert "secret" not in caught.value.message
