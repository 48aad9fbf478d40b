"""Which bodies get a key, and that it is always the right one."""

import pytest

from llmctl.protocol.canonical import raw_key
from llmctl.proxy.repeats import Repeats
from tests.clocks import ManualClock

SECRET = b"s" * 32
HOUR = 3600.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def repeats(clock: ManualClock) -> Repeats:
    return Repeats(SECRET, ttl_s=HOUR, clock=clock)


def digest(body: bytes, tenant: str = "a") -> bytes:
    return raw_key(SECRET, tenant=tenant, body=body)


def test_a_body_is_worth_its_digest_once_one_of_its_length_and_end_was_seen(repeats, clock):
    body = b"question" * 1000 + b"session 1"
    assert repeats.key("a", body) == b""
    assert repeats.key("a", body) == digest(body)
    assert repeats.key("a", body + b"!") == b""
    assert repeats.key("a", body[:-1] + b"2") == b""
    clock.advance(HOUR)
    assert repeats.key("a", body) == b""


@pytest.mark.parametrize("size", [10, 60_000, 3_000_000], ids=["short", "usual", "not kept"])
def test_the_key_is_the_digest_however_often_a_body_comes(repeats, size):
    body = b"x" * size
    assert [repeats.key("a", body) for _ in range(4)] == [b"", *[digest(body)] * 3]


def test_bodies_that_only_look_alike_have_their_own_keys(repeats):
    one, other = b"1" + b"." * 5000, b"2" + b"." * 5000
    repeats.key("a", one)
    for body in (one, other, other, one):
        assert repeats.key("a", body) == digest(body)


def test_tenants_have_their_own_keys(repeats):
    repeats.key("a", b"body")
    assert repeats.key("a", b"body") == digest(b"body")
    assert repeats.key("b", b"body") == digest(b"body", "b")
    assert repeats.key("a", b"body") == digest(b"body")


def test_many_bodies_keep_their_keys(repeats):
    bodies = [number.to_bytes(2, "big") * 30_000 for number in range(200)]
    for _ in range(3):
        keys = [repeats.key("a", body) for body in bodies]
    assert keys == [digest(body) for body in bodies]
