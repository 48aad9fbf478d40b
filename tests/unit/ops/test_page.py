"""The link that `llmctl ui` prints."""

import httpx
import pytest

from llmctl.config.secrets import Secret
from llmctl.core.errors import AuthError, BackendError
from llmctl.ops.page import page_link
from llmctl.ops.running import Address, RunningProxy

ADDRESS = Address(url="http://gpu:8000", source="--url")


def proxy(answer) -> RunningProxy:
    return RunningProxy(ADDRESS, Secret("llmctl_token"), transport=httpx.MockTransport(answer))


def test_the_code_stands_behind_the_hash():
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.method, request.url.path, request.headers["x-api-key"]))
        return httpx.Response(200, json={"code": "abc", "path": "/ui/login", "expires_s": 120})

    with proxy(answer) as running:
        link = page_link(running)
    assert link.url == "http://gpu:8000/ui/login#abc"
    assert link.expires_s == 120
    assert asked == [("POST", "/ui/code", "llmctl_token")]


def test_a_refused_token_is_said():
    with proxy(lambda _: httpx.Response(401)) as running, pytest.raises(AuthError) as refused:
        page_link(running)
    assert "refused our token" in refused.value.message


def test_an_older_proxy_has_no_page():
    error = {"type": "error", "error": {"type": "not_found_error", "message": "nothing here"}}
    with (
        proxy(lambda _: httpx.Response(404, json=error)) as running,
        pytest.raises(BackendError) as refused,
    ):
        page_link(running)
    assert "nothing here" in refused.value.message
