import sys

import pytest

from llmctl.core.rental import ProviderName
from llmctl.providers.base import SupportsStop
from llmctl.providers.registry import ProviderAccess, api_url, market_name, open_providers

VAST, RUNPOD = ProviderName.VAST, ProviderName.RUNPOD


def access(key: str = "secret-key-1234") -> ProviderAccess:
    return ProviderAccess(key=key, hint="VAST_API_KEY, ends in 1234")


async def test_one_adapter_for_each_key():
    made = open_providers({VAST: access(), RUNPOD: access()}, {})
    assert [(name, each.name) for name, each in made.items()] == [(VAST, VAST), (RUNPOD, RUNPOD)]
    assert all(isinstance(each, SupportsStop) for each in made.values())
    assert all(each.key_hint == "VAST_API_KEY, ends in 1234" for each in made.values())
    for each in made.values():
        await each.close()


async def test_the_packages_are_not_imported_for_it():
    before = set(sys.modules)
    for each in open_providers({VAST: access(), RUNPOD: access()}, {}).values():
        await each.close()
    assert not {"vastai", "runpod"} & (set(sys.modules) - before)


@pytest.mark.parametrize("name", [ProviderName.HOST, ProviderName.LOCAL])
def test_nothing_is_rented_from_ones_own_machines(name):
    with pytest.raises(ValueError, match="no market"):
        open_providers({name: access()}, {})
    assert api_url(name, {}) == ""


@pytest.mark.parametrize(
    ("name", "environ", "url"),
    [
        (VAST, {}, "https://console.vast.ai"),
        (VAST, {"VAST_URL": "http://127.0.0.1:1/"}, "http://127.0.0.1:1"),
        (VAST, {"VAST_URL": "http://a", "LLMCTL_VAST_URL": "http://b"}, "http://b"),
        (RUNPOD, {}, "https://api.runpod.io"),
        (RUNPOD, {"RUNPOD_API_BASE_URL": "http://127.0.0.1:2"}, "http://127.0.0.1:2"),
    ],
)
def test_addresses_follow_the_packages_own_variables(name, environ, url):
    assert api_url(name, environ) == url


def test_a_key_is_never_shown():
    assert "secret-key" not in repr(access())


def test_markets_have_names():
    assert [market_name(each) for each in ProviderName] == ["vast.ai", "RunPod", "host", "local"]
