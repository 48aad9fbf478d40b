import httpx
import pytest

from llmctl.config.load import load
from llmctl.config.secrets import Secret, TokenStore
from llmctl.core.errors import AuthError, BackendError
from llmctl.core.paths import find_paths
from llmctl.ops.env import CLIENT_FAMILIES
from llmctl.ops.running import (
    Address,
    RunningProxy,
    ask_what_is_served,
    find_address,
    find_token,
)

LOCAL = Address(url="http://127.0.0.1:8000", source="")


@pytest.fixture
def environ(llmctl_home):
    return {"LLMCTL_HOME": str(llmctl_home)}


@pytest.fixture
def own_token(environ):
    _, token = TokenStore(find_paths(environ).data).load_or_create()
    return token


def address(environ, *, url=None, **flags):
    return find_address(load(flags=flags, environ=environ), environ, url=url)


def proxy(answer, *, token=None, at=LOCAL):
    return RunningProxy(at, token, transport=httpx.MockTransport(answer))


def answering(status, **content):
    return proxy(lambda _request: httpx.Response(status, **content))


def decoded(running, **options):
    return running.decode(running.get("/stats"), "/stats", dict[str, int], **options)


class TestAddress:
    def test_default(self, environ):
        assert address(environ) == LOCAL
        assert str(LOCAL) == "http://127.0.0.1:8000"

    def test_as_configured(self, environ):
        found = address({**environ, "API_PORT": "9000"})
        assert str(found) == "http://127.0.0.1:9000 (API_PORT)"

    def test_base_url_of_the_shell_beats_customary_names_and_the_file(self, environ):
        base = {"ANTHROPIC_BASE_URL": "http://gpu:8000/", "API_PORT": "9000"}
        assert str(address({**environ, **base})) == "http://gpu:8000 (ANTHROPIC_BASE_URL)"

    def test_but_not_what_llmctl_was_told(self, environ):
        base = {"ANTHROPIC_BASE_URL": "http://gpu:8000", "LLMCTL_SERVE_PORT": "9000"}
        assert address({**environ, **base}).url == "http://127.0.0.1:9000"
        assert address({**environ, **base}, url="http://x/").url == "http://x"

    @pytest.mark.parametrize("url", ["https://api.anthropic.com", "https://anthropic.com/"])
    def test_anthropic_itself_is_no_proxy_of_ours(self, environ, url):
        assert address({**environ, "ANTHROPIC_BASE_URL": url}) == LOCAL

    def test_names_that_only_look_like_it_are(self, environ):
        url = "http://notanthropic.com"
        assert address({**environ, "ANTHROPIC_BASE_URL": url}).url == url


class TestToken:
    def test_our_own_for_this_machine(self, environ, own_token):
        assert find_token(LOCAL, environ) == own_token

    def test_none_made_yet(self, environ):
        assert find_token(LOCAL, environ) is None

    def test_our_own_never_leaves_this_machine(self, environ, own_token):
        away = Address(url="http://gpu.example:8000", source="--url")
        assert find_token(away, environ) is None
        override = {**environ, "LLMCTL_AUTH_TOKEN": "chosen"}
        assert find_token(away, override) == Secret("chosen")

    def test_the_one_beside_the_base_url(self, environ, own_token):
        shell = {**environ, "ANTHROPIC_AUTH_TOKEN": "beside"}
        from_shell = Address(url="http://127.0.0.1:8000", source="ANTHROPIC_BASE_URL")
        assert find_token(from_shell, shell) == Secret("beside")
        assert find_token(LOCAL, shell) == own_token
        assert find_token(from_shell, {**shell, "LLMCTL_AUTH_TOKEN": "ours"}) == Secret("ours")


class TestGet:
    def test_the_token_is_sent(self):
        def answer(request):
            return httpx.Response(200, text=request.headers["x-api-key"] + request.url.path)

        with proxy(answer, token=Secret("tok-en")) as running:
            assert running.get("/health").body == b"tok-en/health"

    def test_nothing_answers(self):
        def refuse(request):
            raise httpx.ConnectError("no") from ConnectionRefusedError(111, "Connection refused")

        at = Address(url="http://127.0.0.1:9000", source="API_PORT")
        with proxy(refuse, at=at) as running, pytest.raises(BackendError) as caught:
            running.get("/health")
        assert caught.value.message == (
            "no proxy answers at http://127.0.0.1:9000 (API_PORT): connection refused"
        )
        assert caught.value.hint == "llmctl serve"

    def test_too_slow_an_answer(self):
        def hang(request):
            raise httpx.ReadTimeout("timed out")

        with proxy(hang) as running, pytest.raises(BackendError, match="timed out"):
            running.get("/health")

    def test_an_address_that_is_none(self):
        at = Address(url="nonsense", source="--url")
        with RunningProxy(at, None) as running, pytest.raises(BackendError, match="nonsense"):
            running.get("/health")

    def test_refused_and_missing_tokens_are_told_apart(self):
        refuse = lambda _request: httpx.Response(401)
        with proxy(refuse, token=Secret("tok-en")) as running, pytest.raises(AuthError) as caught:
            running.get("/")
        assert caught.value.message == "the proxy at http://127.0.0.1:8000 refused our token"
        with proxy(refuse) as running, pytest.raises(AuthError, match="there is none"):
            running.get("/")

    def test_documents(self):
        with answering(200, json={"a": 1}) as running:
            assert decoded(running) == {"a": 1}

    def test_refusals_of_the_proxy_are_passed_on(self):
        body = {"type": "error", "error": {"type": "not_found_error", "message": "it is off"}}
        with answering(404, json=body) as running, pytest.raises(BackendError) as caught:
            decoded(running, hint="switch it on")
        assert caught.value.message == (
            "the proxy at http://127.0.0.1:8000 answered /stats with 404: it is off"
        )
        assert caught.value.hint == "switch it on"

    @pytest.mark.parametrize("content", [{"text": "<html>"}, {"text": ""}, {"json": ["a"]}])
    def test_something_else_on_that_port(self, content):
        with answering(200, **content) as running, pytest.raises(BackendError) as caught:
            decoded(running)
        assert "what answers /stats at http://127.0.0.1:8000 is not llmctl" in caught.value.message


class TestServed:
    def test_what_answers_for_the_clients_own_names(self):
        rows = {
            "claude-opus-4-8": {"id": "x", "engine_model": "big", "max_input_tokens": 100},
            "claude-sonnet-5": {"id": "x", "engine_model": "middle", "max_input_tokens": 32768},
            "claude-haiku-4-5-20251001": {"id": "small"},
        }
        asked = []

        def answer(request):
            asked.append(request.url.path)
            return httpx.Response(200, json=rows[request.url.path.removeprefix("/v1/models/")])

        with proxy(answer) as running:
            served = ask_what_is_served(running)
        assert served.url == LOCAL.url
        assert served.models == {"OPUS": "big", "SONNET": "middle", "HAIKU": "small"}
        assert served.context_tokens == 32768
        assert len(asked) == len(CLIENT_FAMILIES)

    @pytest.mark.parametrize("status", [404, 529])
    def test_no_engine_no_model(self, status):
        body = {"type": "error", "error": {"type": "x", "message": "no engine answers"}}
        with answering(status, json=body) as running, pytest.raises(BackendError) as caught:
            ask_what_is_served(running)
        assert caught.value.message == (
            "the proxy at http://127.0.0.1:8000 answered /v1/models/claude-opus-4-8 "
            f"with {status}: no engine answers"
        )
        assert caught.value.hint == "llmctl health"
