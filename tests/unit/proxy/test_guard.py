"""What the guard lets through, by request line and headers."""

import pytest
from aiohttp import HttpVersion
from aiohttp.test_utils import make_mocked_request

from llmctl.protocol.errors import ApiError
from llmctl.proxy.guard import Guard


@pytest.fixture
def guard() -> Guard:
    return Guard(listen="192.168.1.5", hosts=["gpu.example"], origins=["https://app.example"])


def request(path="/v1/messages", method="POST", version=HttpVersion(1, 1), **headers):
    fields = {"Host": "127.0.0.1:8000"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return make_mocked_request(method, path, headers=fields, version=version)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8000",
        "localhost:1",
        "LOCALHOST",
        "[::1]:8000",
        "[::1]",
        "192.168.1.5:8000",
        "gpu.example",
        "gpu.example:443",
    ],
)
def test_names_of_this_server_pass(guard, host):
    assert guard.check(request(Host=host)) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "0.0.0.0:8000",
        "127.0.0.2",
        "",
        "::1",
        "[::2]",
        "gpu.example.",
        "user@127.0.0.1",
    ],
)
def test_other_names_are_refused(guard, host):
    with pytest.raises(ApiError) as refused:
        guard.check(request(Host=host))
    assert refused.value.status == 403


def test_a_refused_host_stays_refused(guard):
    for _ in range(2):
        with pytest.raises(ApiError):
            guard.check(request(Host="evil.example"))


def test_an_allowed_origin_passes_and_others_do_not(guard):
    guard.check(request(Origin="https://app.example"))
    for origin in ("https://evil.example", "null", "http://app.example"):
        with pytest.raises(ApiError) as refused:
            guard.check(request(Origin=origin))
        assert refused.value.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_cross_site_fetches_are_refused(guard, site):
    with pytest.raises(ApiError) as refused:
        guard.check(request(Sec_Fetch_Site=site))
    assert refused.value.status == 403


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_own_fetches_pass(guard, site):
    assert guard.check(request(Sec_Fetch_Site=site)) is None


@pytest.mark.parametrize("version", [HttpVersion(0, 9), HttpVersion(2, 0), HttpVersion(1, 2)])
def test_only_http_1_is_spoken(guard, version):
    with pytest.raises(ApiError) as refused:
        guard.check(request(version=version))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "path", ["http://other.example/v1/messages", "http://127.0.0.1:8000/", "*"]
)
def test_a_request_target_is_a_path(guard, path):
    with pytest.raises(ApiError) as refused:
        guard.check(request(path=path))
    assert refused.value.status == 400


def test_upgrades_are_refused(guard):
    with pytest.raises(ApiError) as refused:
        guard.check(request(Upgrade="h2c"))
    assert refused.value.status == 426


def test_a_wildcard_address_names_no_host():
    guard = Guard(listen="0.0.0.0", hosts=[], origins=[])
    with pytest.raises(ApiError):
        guard.check(request(Host="0.0.0.0:8000"))


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "gpu.example", "[::1]:8000"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_our_own_page_may_call_its_own_paths(guard, host, scheme):
    own = {"Host": host, "Origin": f"{scheme}://{host}"}
    guard.check(request("/ui/login", **own))
    for path in ("/v1/messages", "/ui", "/uix/login", "/health"):
        with pytest.raises(ApiError) as refused:
            guard.check(request(path, **own))
        assert refused.value.status == 403


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8001", "http://127.0.0.1", "http://localhost:8000", "null", ""]
)
def test_another_port_or_name_of_this_machine_is_another_page(guard, origin):
    with pytest.raises(ApiError) as refused:
        guard.check(request("/ui/login", Origin=origin))
    assert refused.value.status == 403
