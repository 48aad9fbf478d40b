import pickle

import pytest

from llmctl.cache.address import redis_address
from llmctl.core.errors import ConfigError

CANARY = "c4n4ry-pass"


@pytest.mark.parametrize(
    ("settings", "location"),
    [
        ({}, "redis://127.0.0.1:6379/0"),
        ({"host": "cache.lan", "port": 6380, "db": 2}, "redis://cache.lan:6380/2"),
        ({"host": "::1"}, "redis://[::1]:6379/0"),
        ({"url": "redis://cache.lan"}, "redis://cache.lan:6379/0"),
        ({"url": "redis://"}, "redis://127.0.0.1:6379/0"),
        ({"url": "rediss://cache.lan:6400/3"}, "rediss://cache.lan:6400/3"),
        ({"url": "unix:///run/valkey.sock?db=1"}, "unix:///run/valkey.sock?db=1"),
        ({"url": f"rediss://me:{CANARY}@cache.lan/1"}, "rediss://cache.lan:6379/1"),
        ({"url": f"redis://:{CANARY}@localhost"}, "redis://localhost:6379/0"),
        ({"url": "redis://a.lan", "host": "b.lan"}, "redis://a.lan:6379/0"),
    ],
)
def test_location_names_the_place_and_never_the_password(settings, location):
    assert redis_address(**settings).location == location


def test_the_password_of_the_url_wins_over_the_one_given_beside_it():
    address = redis_address(url="redis://:from-url@localhost", password="from-environment")
    assert address.options()["password"] == "from-url"
    address = redis_address(url="redis://me@localhost", password="from-environment")
    assert address.options()["password"] == "from-environment"
    assert address.options()["username"] == "me"
    assert address.has_password


@pytest.mark.parametrize("host", ["cache.lan", "10.0.0.5", "192.168.1.9", "::2", "0.0.0.0"])
def test_a_password_does_not_cross_the_network_unencrypted(host):
    with pytest.raises(ConfigError) as caught:
        redis_address(host=host, password=CANARY)
    assert host in caught.value.message
    assert "rediss://" in caught.value.hint
    assert CANARY not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "127.0.0.1"},
        {"host": "127.8.8.8"},
        {"host": "localhost"},
        {"host": "::1"},
        {"url": "unix:///run/valkey.sock"},
        {"url": "rediss://cache.lan"},
        {"host": "cache.lan", "insecure": True},
    ],
)
def test_where_a_password_may_go(settings):
    assert redis_address(**settings, password=CANARY).options()["password"] == CANARY


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{CANARY}@cache.lan",
        f"redis://:{CANARY}@cache.lan:port",
        f"redis://:{CANARY}/x@cache.lan",
        f"redis://[:{CANARY}@cache.lan",
        f"redis://:{CANARY}@localhost?db=one",
        CANARY,
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(url):
    with pytest.raises(ConfigError) as caught:
        redis_address(url=url)
    failure: BaseException | None = caught.value
    shown = f"{caught.value.message} {caught.value.hint}"
    if not caught.value.__suppress_context__:
        shown += repr(failure.__context__)
    assert CANARY not in shown
    assert "redis" in shown.lower()


@pytest.mark.parametrize(
    ("url", "option"),
    [
        ("redis://localhost?socket_timeout=5", "socket_timeout"),
        ("redis://localhost?ssl_ca_certs=/ca.pem", "ssl_ca_certs"),
        ("rediss://localhost?ssl_keylog=/x", "ssl_keylog"),
    ],
)
def test_options_that_are_ours_or_unknown_are_refused_by_name(url, option):
    with pytest.raises(ConfigError, match=option):
        redis_address(url=url)


def test_tls_options_reach_the_client():
    address = redis_address(url="rediss://cache.lan?ssl_ca_certs=/ca.pem&ssl_check_hostname=false")
    assert address.options()["ssl_ca_certs"] == "/ca.pem"
    assert address.options()["ssl_check_hostname"] is False


def test_nothing_that_prints_or_stores_an_address_shows_the_password():
    address = redis_address(url="redis://localhost", password=CANARY)
    assert CANARY not in f"{address!r} {address}"
    with pytest.raises(TypeError):
        pickle.dumps(address)
    assert address.redact(f"AUTH default {CANARY}") == "AUTH default ****"
    assert redis_address().redact("no password here") == "no password here"
