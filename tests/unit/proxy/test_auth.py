"""Tokens, tenants and what guessing costs."""

from hashlib import sha256

import pytest
from aiohttp.test_utils import make_mocked_request

from llmctl.protocol.errors import ApiError
from llmctl.proxy.auth import FREE_FAILURES, MAX_DELAY_S, MAX_PEERS, OPEN_TENANT, Authenticator


class FrozenClock:
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    monotonic = now


def authenticator(**tokens: str) -> Authenticator:
    digests = {sha256(token.encode()).hexdigest(): tenant for tenant, token in tokens.items()}
    return Authenticator(digests, FrozenClock())


def request(**headers: str):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("POST", "/v1/messages", headers=fields)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_api_key": "secret"},
        {"Authorization": "Bearer secret"},
        {"Authorization": "bearer  secret "},
        {"Authorization": "Bearer wrong", "x_api_key": "secret"},
        {"Authorization": "Bearer secret", "x_api_key": "sk-ant-something-else"},
    ],
)
async def test_a_token_in_either_header_names_its_tenant(headers):
    assert await authenticator(anna="secret", ben="other").tenant(request(**headers)) == "anna"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x_api_key": ""},
        {"x_api_key": "secre"},
        {"x_api_key": "secrets"},
        {"Authorization": "Basic secret"},
        {"Authorization": "secret"},
        {"x_api_key": sha256(b"secret").hexdigest()},
    ],
)
async def test_anything_else_is_a_401(headers):
    with pytest.raises(ApiError) as refused:
        await authenticator(anna="secret").tenant(request(**headers))
    assert (refused.value.status, refused.value.type) == (401, "authentication_error")


async def test_without_authentication_everybody_is_one_tenant():
    open_door = Authenticator(None, FrozenClock())
    assert not open_door.required
    assert await open_door.tenant(request()) == OPEN_TENANT


def test_guessing_slows_down_up_to_a_bound_and_is_forgotten():
    clock = FrozenClock()
    guard = Authenticator({}, clock)
    delays = [guard._penalty("10.0.0.9") for _ in range(FREE_FAILURES + 40)]
    assert delays[:FREE_FAILURES] == [0.0] * FREE_FAILURES
    assert delays[FREE_FAILURES:] == sorted(delays[FREE_FAILURES:])
    assert delays[-1] == MAX_DELAY_S
    assert guard._penalty("10.0.0.10") == 0.0
    clock.time += 61
    assert guard._penalty("10.0.0.9") == 0.0


def test_the_table_of_guessers_is_bounded():
    guard = Authenticator({}, FrozenClock())
    for number in range(MAX_PEERS + 50):
        guard._penalty(f"peer {number}")
    assert len(guard._failures) == MAX_PEERS
