import pytest

from llmctl.config.addresses import (
    backend_url,
    host_of,
    is_local,
    ollama_url,
    reachable,
    redis_url,
    shown,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ollama", "ollama:http://127.0.0.1:11434"),
        ("ollama:http://10.0.0.5:11434/", "ollama:http://10.0.0.5:11434"),
        ("ollama:gpu-box", "ollama:http://gpu-box:11434"),
        ("openai:https://host/v1", "openai:https://host/v1"),
        ("openai:https://host/v1/", "openai:https://host/v1"),
        (" openai:HTTP://0.0.0.0:8000/ ", "openai:http://127.0.0.1:8000"),
        ("embedded", "embedded"),
    ],
)
def test_engines_in_one_form(text, expected):
    assert backend_url(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("vllm:http://x", "expected ollama"),
        ("http://127.0.0.1:11434", "expected ollama"),
        ("openai", "expected ollama"),
        ("openai:", "expected ollama"),
        ("embedded:x", "expected ollama"),
        ("openai:localhost:8000", "starts with http"),
        ("openai:http://", "with a host name"),
        ("openai:http://me:secret@host", "cannot carry a user name"),
        ("openai:http://host/?key=1", "cannot carry a query"),
        ("ollama:http://host:99999", "port is not a number"),
        ("ollama:host:port", "port is not a number"),
        ("ollama:http://[::1", "Invalid IPv6 URL"),
        ("ollama:my host:80", "'my host' is not a host name"),
    ],
)
def test_engines_that_are_none(text, reason):
    with pytest.raises(ValueError, match=reason):
        backend_url(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "http://127.0.0.1:11434"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("  'http://127.0.0.1:11434/'  ", "http://127.0.0.1:11434"),
        ("GPU-Box:11434/ollama", "http://gpu-box:11434/ollama"),
        ("[::1]", "http://[::1]:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("https://ollama.example", "https://ollama.example"),
        ("http://host:80/prefix/", "http://host:80/prefix"),
    ],
)
def test_every_form_of_ollama_host(text, expected):
    assert ollama_url(text) == expected


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("openai:http://me:s3cret@host:1", "openai:http://…@host:1"),
        ("openai:http://me:s3/cr@et@host:1", "openai:http://…@host:1"),
        ("ollama:me:s3cret@host", "ollama:…@host"),
        ("openai:localhost:8000", "openai:localhost:8000"),
    ],
)
def test_what_may_be_a_password_is_not_repeated(written, told):
    assert shown(written) == told


def test_redis_password_leaves_the_url():
    assert redis_url("redis://:p%40ss@cache:6379/2") == ("redis://cache:6379/2", "p@ss")
    assert redis_url("rediss://me:pw@cache") == ("rediss://me@cache", "pw")
    assert redis_url("redis://cache:6379") == ("redis://cache:6379", "")
    assert redis_url("unix:///run/redis.sock") == ("unix:///run/redis.sock", "")


def test_redis_needs_its_scheme():
    with pytest.raises(ValueError, match="expected redis://"):
        redis_url("cache:6379")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_local(host):
    assert is_local(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.4", "example.org"])
def test_not_local(host):
    assert not is_local(host)


def test_where_a_listener_is_reached():
    assert reachable("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert reachable("::", 8000) == "http://[::1]:8000"
    assert reachable("10.0.0.5", 80) == "http://10.0.0.5:80"


def test_host_of_a_url():
    assert host_of("http://[::1]:8000/x") == "::1"
    assert host_of("HTTPS://Api.Anthropic.com") == "api.anthropic.com"
    assert host_of("http://[broken") == ""
