"""`/ui` over HTTP: who may look, how a browser logs in, and what it is shown."""

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from llmctl.config.secrets import TokenStore
from llmctl.config.tokens import add_token, remove_tokens
from llmctl.core.money import micro_usd
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.state.store import RentalStore
from tests.emulators.ollama import Answer, Hold, HttpError, OllamaEmulator
from tests.integration.proxy.conftest import ask

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
BEHIND = ["/ui", "/ui/", "/ui/state", "/ui/page.js", "/ui/charts.js", "/ui/nothing"]
OPEN = ["/ui/login", "/ui/login.js", "/ui/page.css", "/ui/icon.svg"]


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}") as running:
        yield running


@pytest.fixture
async def stranger():
    """A browser without a token: cookies of loopback addresses are kept as browsers keep them."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def code_of(proxy) -> str:
    async with proxy.session.post(proxy.url + "/ui/code", headers=proxy.headers) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        given = await answer.json()
        assert given["path"] == "/ui/login"
        return given["code"]


async def log_in(proxy, browser, secret: str, **headers: str):
    """Return status, headers and document of one attempt."""
    headers = {"Origin": proxy.url} | headers
    body = {"secret": secret}
    async with browser.post(proxy.url + "/ui/login", json=body, headers=headers) as answer:
        return answer.status, answer.headers, await answer.json()


async def status(browser, url: str, **headers: str) -> int:
    async with browser.get(url, headers=headers) as answer:
        return answer.status


async def state(proxy, browser) -> dict:
    async with browser.get(proxy.url + "/ui/state") as answer:
        assert answer.status == 200
        return await answer.json()


@pytest.mark.parametrize("path", BEHIND)
async def test_without_a_token_nothing_is_shown(proxy, stranger, path):
    async with stranger.get(proxy.url + path) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"]["type"] == "authentication_error"
        assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("headers", [{"x-api-key": "llmctl_wrong"}, {"Cookie": "llmctl_ui=x"}])
async def test_with_a_wrong_one_neither(proxy, stranger, headers):
    assert await status(stranger, proxy.url + "/ui/state", **headers) == 401


async def test_a_browser_is_shown_the_form_instead(proxy, stranger):
    async with stranger.get(proxy.url + "/ui", headers=BROWSER) as answer:
        assert answer.status == 401
        assert answer.content_type == "text/html"
        assert 'id="secret"' in await answer.text()


async def test_the_token_itself_opens_the_page_as_it_does_every_path(proxy, stranger):
    for name in ("x-api-key", "Authorization"):
        sent = {name: proxy.token if name == "x-api-key" else f"Bearer {proxy.token}"}
        for path in BEHIND[:-1]:
            assert await status(stranger, proxy.url + path, **sent) == 200
        assert await status(stranger, proxy.url + "/ui/nothing", **sent) == 404


@pytest.mark.parametrize("path", [*OPEN, *BEHIND[:3]])
async def test_everything_is_sent_with_the_same_strict_headers(proxy, stranger, path):
    async with stranger.get(proxy.url + path, headers=proxy.headers) as answer:
        assert answer.status == 200
        policy = dict(
            rule.strip().split(" ", 1)
            for rule in answer.headers["Content-Security-Policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
        }
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "Access-Control-Allow-Origin" not in answer.headers
        body = await answer.text()
        for address in re.findall(r'(?:src|href)="([^"]*)"', body):
            assert address.startswith("/ui/")
        assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", body)


async def test_a_code_becomes_a_cookie_once(proxy, stranger):
    code = await code_of(proxy)
    said, headers, document = await log_in(proxy, stranger, code)
    assert (said, document) == (200, {"location": "/ui"})
    assert headers["Cache-Control"] == "no-store"
    name, *flags = [part.strip() for part in headers["Set-Cookie"].split(";")]
    assert re.fullmatch(rf"llmctl_ui_{proxy.port}=[\w-]{{88}}", name)
    assert sorted(flags) == ["HttpOnly", "Max-Age=604800", "Path=/ui", "SameSite=Strict"]
    assert code not in headers["Set-Cookie"]
    assert proxy.token not in headers["Set-Cookie"]
    assert await status(stranger, proxy.url + "/ui", **BROWSER) == 200
    async with aiohttp.ClientSession() as another:
        said, headers, document = await log_in(proxy, another, code)
    assert (said, document["error"]["type"]) == (401, "authentication_error")
    assert "Set-Cookie" not in headers


async def test_a_cookie_opens_the_page_and_nothing_else(proxy, stranger):
    await log_in(proxy, stranger, await code_of(proxy))
    [cookie] = stranger.cookie_jar
    sent = {"Cookie": f"{cookie.key}={cookie.value}"}
    async with aiohttp.ClientSession() as browser:
        assert await status(browser, proxy.url + "/ui/state", **sent) == 200
        for path in ("/health", "/stats", "/metrics", "/v1/models"):
            assert await status(browser, proxy.url + path, **sent) == 401
        async with browser.post(proxy.url + "/v1/messages", json=ask(), headers=sent) as answer:
            assert answer.status == 401
        async with browser.post(proxy.url + "/ui/code", headers=sent) as answer:
            assert answer.status == 401


async def test_the_form_takes_the_token_too(proxy, stranger):
    assert (await log_in(proxy, stranger, f" {proxy.token}\n"))[0] == 200
    assert await status(stranger, proxy.url + "/ui/state") == 200


async def test_who_came_over_tls_comes_back_over_tls(proxy, stranger):
    for scheme in ("http", "https"):
        sent = {"X-Forwarded-Proto": scheme}
        _, headers, _ = await log_in(proxy, stranger, proxy.token, **sent)
        assert ("Secure" in headers["Set-Cookie"]) == (scheme == "https")


async def test_the_end_of_a_token_is_the_end_of_its_sessions(proxy, stranger, llmctl_home):
    store = TokenStore(llmctl_home / "data")
    token = add_token(store, "ada").reveal()
    async with asyncio.timeout(20):
        while (await log_in(proxy, stranger, token))[0] != 200:
            await asyncio.sleep(0.05)
    assert await status(stranger, proxy.url + "/ui/state") == 200
    remove_tokens(store, "ada")
    async with asyncio.timeout(20):
        while await status(stranger, proxy.url + "/ui/state") != 401:
            await asyncio.sleep(0.05)


async def test_a_restart_ends_no_session(engine, start, stranger):
    async with start(f"ollama:{engine.url}") as proxy:
        await log_in(proxy, stranger, proxy.token)
        [cookie] = stranger.cookie_jar
    async with start(f"ollama:{engine.url}") as proxy, aiohttp.ClientSession() as browser:
        sent = {"Cookie": f"llmctl_ui_{proxy.port}={cookie.value}"}
        assert await status(browser, proxy.url + "/ui/state", **sent) == 200


async def test_logging_out_takes_the_cookie_away(proxy, stranger):
    await log_in(proxy, stranger, proxy.token)
    async with stranger.post(proxy.url + "/ui/logout") as answer:
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert await status(stranger, proxy.url + "/ui/state") == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_other_sites_are_refused_even_with_the_token(proxy, stranger, headers):
    for path in ("/ui", "/ui/login", "/ui/state"):
        sent = proxy.headers | headers
        assert await status(stranger, proxy.url + path, **sent) == 403
    async with stranger.post(
        proxy.url + "/ui/login", json={"secret": proxy.token}, headers=headers
    ) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


async def test_our_own_origin_is_for_our_own_page_only(proxy, stranger):
    sent = proxy.headers | {"Origin": proxy.url}
    assert await status(stranger, proxy.url + "/ui/state", **sent) == 200
    assert await status(stranger, proxy.url + "/health", **sent) == 403


BAD_LOGINS = {
    "no json": (b"hello", "application/json", 400),
    "no secret": (b"{}", "application/json", 400),
    "more": (b'{"secret":"x","more":1}', "application/json", 400),
    "a form": (b"secret=x", "application/x-www-form-urlencoded", 415),
    "large": (b'{"secret":"' + b"x" * 5000 + b'"}', "application/json", 413),
    "wrong": (b'{"secret":"x"}', "application/json", 401),
    "surrogate": (b'{"secret":"\\ud800"}', "application/json", 400),
    "empty": (b'{"secret":""}', "application/json", 401),
}


@pytest.mark.parametrize("name", BAD_LOGINS)
async def test_a_bad_login_is_refused_in_shape(proxy, stranger, name):
    body, kind, expected = BAD_LOGINS[name]
    headers = {"Content-Type": kind}
    async with stranger.post(proxy.url + "/ui/login", data=body, headers=headers) as answer:
        assert answer.status == expected
        assert (await answer.json())["type"] == "error"
        assert answer.headers["Connection"] == "close"
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/ui"), ("POST", "/ui/state"), ("GET", "/ui/code"), ("PUT", "/ui/login")],
)
async def test_the_page_changes_nothing(proxy, stranger, method, path):
    url = proxy.url + path
    async with stranger.request(method, url, headers=proxy.headers) as answer:
        assert answer.status == 405


async def test_without_authentication_everybody_may_look(engine, start, stranger):
    async with start(f"ollama:{engine.url}", serve_auth="false") as proxy:
        assert await status(stranger, proxy.url + "/ui", **BROWSER) == 200
        assert (await state(proxy, stranger))["everything"] is True
        assert await code_of(proxy)


@asynccontextmanager
async def stream(proxy, engine, token: str | None = None):
    """Keep a stream open of which ten tokens have come."""
    gate = asyncio.Event()
    engine.script = Answer(*["word "] * 10, Hold(gate), "end")
    headers = {"x-api-key": token or proxy.token}
    body = ask("Tell me", stream=True)
    async with proxy.session.post(proxy.url + "/v1/messages", json=body, headers=headers) as answer:
        said = b""
        while said.count(b"word ") < 10:
            said += await answer.content.readany()
        yield
        gate.set()
        await answer.read()


async def test_open_requests_are_shown_while_they_are(proxy, engine):
    proxy.session.headers.update(proxy.headers)
    async with stream(proxy, engine):
        now = await state(proxy, proxy.session)
        [one] = now["open"]
        assert (one["model"], one["stage"], one["tokens"]) == ("qwen3-coder:30b", "answering", 10)
        assert (one["cache"], one["tenant"], one["stream"]) == ("miss", "local", True)
        assert one["backend"] == f"ollama:{engine.url}"
        assert one["tokens_per_s"] > 0
        assert 0 <= one["age_s"] < 60
        assert now["tokens_per_s"] > 0
        assert sum(now["recent"]["tokens_per_s"]) > 0
    now = await state(proxy, proxy.session)
    assert (now["open"], now["tokens_per_s"], now["requests"]) == ([], 0, 1)
    assert now["recent"]["engine"][-2:] in ([0, 1], [1, 0])


async def test_figures_follow_what_happens(proxy, engine):
    proxy.session.headers.update(proxy.headers)
    for _ in range(4):
        await proxy.json(ask("Same"))
    engine.script = HttpError(400, "this is beyond me")
    await proxy.json(ask("Another"))
    now = await state(proxy, proxy.session)
    assert sum(now["recent"]["cached"]) == 3
    assert sum(now["recent"]["engine"]) == 1
    assert sum(now["recent"]["failed"]) == 1
    assert now["recent"]["hit_ratio"] == now["hit_ratio"] == 0.6
    assert 0 < now["recent"]["p50_ms"] <= now["recent"]["p95_ms"]
    [failure] = now["failures"]
    assert failure["type"] == "invalid_request_error"
    assert "beyond me" in failure["message"]
    assert len(set(map(len, (now["recent"][name] for name in ("cached", "tokens_per_s"))))) == 1
    assert now["health"]["status"] == "ok"
    assert now["health"]["backends"][0]["in_flight"] == 0
    assert now["money"]["today_usd"] == "0.0000"


async def test_tenants_see_their_own_and_no_money(proxy, engine, llmctl_home):
    store = TokenStore(llmctl_home / "data")
    ada = add_token(store, "ada").reveal()
    async with asyncio.timeout(20):
        while await status(proxy.session, proxy.url + "/ui/state", **{"x-api-key": ada}) != 200:
            await asyncio.sleep(0.05)
    engine.script = HttpError(400, "a secret of the operator")
    await proxy.json(ask("Fails"))
    async with stream(proxy, engine), aiohttp.ClientSession(headers={"x-api-key": ada}) as theirs:
        seen = await state(proxy, theirs)
        assert (seen["everything"], seen["money"]) == (False, None)
        assert seen["open"] == seen["failures"] == []
        assert "secret of the operator" not in json.dumps(seen)
    async with (
        stream(proxy, engine, ada),
        aiohttp.ClientSession(headers={"x-api-key": ada}) as theirs,
    ):
        assert [one["tenant"] for one in (await state(proxy, theirs))["open"]] == ["ada"]


async def test_no_prompt_and_no_answer_is_shown(proxy, engine):
    proxy.session.headers.update(proxy.headers)
    engine.script = Answer("canary of the answer")
    await proxy.json(ask("canary of the prompt"))
    assert "canary" not in json.dumps(await state(proxy, proxy.session))


async def test_what_is_rented_is_shown_in_money(engine, start, llmctl_home):
    class TwoHoursAgo:
        def now(self) -> float:
            return time.time() - 7200.0

        monotonic = now

    store = RentalStore(llmctl_home / "state" / "rentals.db", clock=TwoHoursAgo())
    spec = UpSpec(name="main", providers=(ProviderName.VAST,))
    rental = store.begin(spec, ProviderName.VAST)
    price = micro_usd("0.60")
    store.advance(rental.uuid, Phase.CREATED, instance_id="1", usd_per_hour=price)
    store.advance(rental.uuid, Phase.READY)
    store.close()
    # so far east or west that it is afternoon there: the two hours are of one day
    zone = f"Etc/GMT{time.gmtime().tm_hour - 14:+d}"
    settings = {"budget_timezone": zone, "budget_usd_per_day": "5"}
    async with start(f"ollama:{engine.url}", **settings) as proxy:
        proxy.session.headers.update(proxy.headers)
        money = (await state(proxy, proxy.session))["money"]
        assert money["usd_per_hour"] == "0.6000"
        assert 1.2 <= float(money["today_usd"]) <= float(money["month_usd"]) < 1.3
        assert (money["timezone"], money["complete"]) == (zone, True)
        async with proxy.session.get(proxy.url + "/metrics") as answer:
            told = await answer.text()
        assert "llmctl_rent_usd_per_hour 0.6" in told
        assert 'llmctl_budget_used_ratio{period="day"} 0.24' in told
