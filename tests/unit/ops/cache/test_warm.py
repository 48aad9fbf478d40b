"""Prompts from a file, asked of a proxy that answers from a script."""

import json

import httpx
import pytest

from llmctl.config.secrets import Secret
from llmctl.core.errors import AuthError, ConfigError
from llmctl.ops.cache.warm import Warming, read_prompts
from llmctl.ops.running import Address, NoAnswer
from tests.clocks import ManualClock

URL = "http://127.0.0.1:8000"


def answer(outcome="miss", *, stop="end_turn", status=200, **headers):
    body = {
        "stop_reason": stop,
        "usage": {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 1},
    }
    return httpx.Response(status, json=body, headers={"x-llmctl-cache": outcome} | headers)


def busy(retry_after="0"):
    return httpx.Response(
        529, json={"error": {"message": "no slot is free"}}, headers={"retry-after": retry_after}
    )


class Proxy(httpx.AsyncBaseTransport):
    """Gives the answers of a script, and remembers the questions."""

    def __init__(self, *script):
        self.script = list(script)
        self.asked = []

    async def handle_async_request(self, request):
        self.asked.append((dict(request.headers), json.loads(await request.aread())))
        said = self.script.pop(0)
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "prompts.jsonl"

    def write(*lines):
        path.write_text(
            "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        )
        return path

    return write


def prompts(path):
    return read_prompts(path, model=None, max_tokens=99)


async def warm(proxy, path, *, parallel=1, told=None):
    warming = Warming(
        Address(url=URL, source=""),
        Secret("token-of-a-test"),
        clock=ManualClock(),
        progress=(told if told is not None else []).append,
        transport=proxy,
    )
    return await warming.run(prompts(path), parallel=parallel)


def test_lines_become_bodies(file):
    body = {"model": "m", "max_tokens": 5, "messages": [], "stream": True, "system": "Be brief."}
    path = file({"prompt": "hi", "system": "S"}, "", body, "   ")
    first, second = prompts(path)
    assert (first.line, second.line) == (1, 3)
    assert json.loads(first.body) == {
        "model": "claude-sonnet-5",
        "max_tokens": 99,
        "system": "S",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": False,
    }
    assert json.loads(second.body) == body | {"stream": False}


@pytest.mark.parametrize(
    ("line", "reason"),
    [("{", "truncated"), ("[]", "object"), ('{"prompt": 1}', "neither"), ("{}", "neither")],
)
def test_a_wrong_line_is_named_before_anything_is_sent(file, line, reason):
    with pytest.raises(ConfigError, match=f"prompts.jsonl, line 2: .*{reason}"):
        prompts(file({"prompt": "hi"}, line))


def test_a_file_that_is_empty_or_missing(file, tmp_path):
    with pytest.raises(ConfigError, match="holds no prompts"):
        prompts(file("", ""))
    with pytest.raises(ConfigError, match="cannot read .*missing: No such file"):
        prompts(tmp_path / "missing")


async def test_outcomes_are_counted(file):
    proxy = Proxy(
        *(answer(outcome) for outcome in ("hit", "semantic", "miss", "shared", "bypass")),
        answer("miss", stop="max_tokens"),
        httpx.Response(400, json={"error": {"message": "max_tokens: too small"}}),
        httpx.Response(200, text="<html>"),
    )
    path = file(*({"prompt": str(number)} for number in range(8)))
    report = await warm(proxy, path)
    assert (report.prompts, report.hits, report.misses) == (8, 2, 2)
    assert (report.uncached, report.errors) == (2, 2)
    assert [(each.line, each.message) for each in report.failures] == [
        (7, "400: max_tokens: too small"),
        (8, "status 200, and no answer in JSON"),
    ]
    assert (report.prompt_tokens, report.completion_tokens) == (4 * 6, 4 * 7)
    assert [body["messages"][0]["content"] for _, body in proxy.asked] == list("01234567")
    assert proxy.asked[0][0]["x-api-key"] == "token-of-a-test"


async def test_a_busy_proxy_is_asked_again(file):
    proxy = Proxy(busy(), busy(), answer())
    report = await warm(proxy, file({"prompt": "hi"}))
    assert (report.misses, report.errors, len(proxy.asked)) == (1, 0, 3)


async def test_but_not_for_ever(file):
    report = await warm(Proxy(*(busy() for _ in range(4))), file({"prompt": "hi"}))
    assert report.failures[0].message == "529: no slot is free"


async def test_a_connection_that_breaks_is_one_error(file):
    proxy = Proxy(httpx.ReadError("broken"), answer())
    report = await warm(proxy, file({"prompt": "a"}, {"prompt": "b"}))
    assert (report.errors, report.misses, report.failures[0].message) == (1, 1, "broken")


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        (httpx.ConnectError("refused"), NoAnswer, f"no proxy answers at {URL}"),
        (httpx.Response(401, json={}), AuthError, "refuses the token"),
    ],
)
async def test_what_ends_the_run(file, said, error, text):
    proxy = Proxy(said, said, answer())
    with pytest.raises(error, match=text):
        await warm(proxy, file(*({"prompt": str(number)} for number in range(5))), parallel=2)
    assert len(proxy.asked) <= 2


async def test_progress_is_told_and_ends_with_the_last(file):
    told = []
    path = file(*({"prompt": str(number)} for number in range(5)))
    report = await warm(Proxy(*(answer() for _ in range(5))), path, parallel=3, told=told)
    assert report.misses == 5
    assert [step.done for step in told] == [1, 2, 3, 4, 5]
    assert (told[-1].total, told[-1].misses) == (5, 5)
