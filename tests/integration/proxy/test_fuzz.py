"""Requests that nobody would send: whatever they are, a shaped answer, no traceback, no 5xx."""

import asyncio
import json
import random
from contextlib import AsyncExitStack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmctl.proxy import openapi
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask, parse

MUTATIONS = 200
AT_ONCE = 20
EXAMPLES = 300

# -- bytes

BODY = {
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "Read", "input_schema": {"type": "object", "properties": {}}}],
    "stream": False,
}


def requests(token: str) -> list[bytes]:
    """Good requests to mutate, each with all that a client sends."""
    fields = [
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Accept: application/json",
        "anthropic-version: 2023-06-01",
        "Connection: close",
    ]
    posted = json.dumps(ask(**BODY)).encode()
    plain = [*fields, "Content-Type: application/json", f"Content-Length: {len(posted)}", "", ""]
    chunked = [*fields, "Content-Type: application/json", "Transfer-Encoding: chunked", "", ""]
    pieces = b"%x\r\n%b\r\n0\r\n\r\n" % (len(posted), posted)
    return [
        "\r\n".join(["POST /v1/messages?beta=true HTTP/1.1", *plain]).encode() + posted,
        "\r\n".join(["POST /v1/messages/count_tokens HTTP/1.1", *plain]).encode() + posted,
        "\r\n".join(["POST /v1/messages HTTP/1.1", *chunked]).encode() + pieces,
        "\r\n".join(["GET /v1/models?limit=1000 HTTP/1.1", *fields, "", ""]).encode(),
    ]


def mutated(request: bytes, dice: random.Random) -> bytes:
    """Do one to four small things to a request."""
    data = bytearray(request)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(data) + 1)
        end = min(len(data), at + dice.randint(1, 40))
        match dice.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at:at] = dice.randbytes(dice.randint(1, 8))
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * dice.randint(1, 50)
            case 4:
                del data[at:]
            case 5:
                data[at:at] = dice.choice(SPLICES)
            case 6:
                lines = bytes(data).split(b"\r\n")
                lines.insert(dice.randrange(len(lines)), dice.choice(lines))
                data = bytearray(b"\r\n".join(lines))
    return bytes(data)


SPLICES = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\x00",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Expect: 100-continue\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b'"\\ud800"',
    b"[" * 5000,
    b"9" * 400,
    b"NaN",
    b"\xff\xfe",
    b"%00%ff/../",
]


async def talk(port: int, data: bytes) -> bytes:
    """Send bytes and return the first answer, or what came until the connection was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got = b""
    try:
        async with asyncio.timeout(30):
            writer.write(data)
            while not complete(got) and (more := await reader.read(65536)):
                got += more
    except ConnectionError:
        pass  # it was not read to its end
    finally:
        writer.close()
    return got


def complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found or head.startswith(b"HTTP/1.1 100"):
        return bool(found) and complete(body)
    fields = (line.lower().partition(b": ") for line in head.split(b"\r\n"))
    lengths = [int(value) for name, _, value in fields if name == b"content-length"]
    return body.endswith(b"0\r\n\r\n") if not lengths else len(body) >= lengths[0]


def check(answer: bytes, sent: bytes) -> int | None:
    """Look at the first answer; None where a half request was only closed."""
    if not answer:
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert b"Traceback" not in answer, sent
    assert 200 <= status < 500, (status, sent, body)
    if status >= 400 and body:  # HEAD has none
        error = json.JSONDecoder().raw_decode(body.decode())[0]
        assert error["type"] == "error"
        assert error["error"]["message"]
        assert b"request-id" in head
    return status


async def test_mutated_requests(start, caplog):
    dice = random.Random(20261122)
    async with OllamaEmulator(Answer("Hello")) as engine:
        # what is half a request is soon closed
        limits = {"serve_header_s": 0.3, "serve_body_s": 0.3}
        async with start(f"ollama:{engine.url}", **limits) as proxy:
            samples = requests(proxy.token)
            statuses: list[int | None] = []
            for _ in range(MUTATIONS // AT_ONCE):
                sent = [mutated(dice.choice(samples), dice) for _ in range(AT_ONCE)]
                answers = await asyncio.gather(*(talk(proxy.port, data) for data in sent))
                statuses += [check(*pair) for pair in zip(answers, sent, strict=True)]
            for sample in samples:
                assert check(await talk(proxy.port, sample), sample) == 200
            await eventually(lambda: proxy.app._open == proxy.app.pipeline.running == 0)
    assert len(statuses) == MUTATIONS
    assert {200, 400, 401} <= set(statuses), "mutations should be neither too wild nor too tame"
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


# -- meaning

TEXT = st.text(max_size=20) | st.text("\ud83d\ude00\x00\udfff<>{}[]\"'\\ ", max_size=8)
NUMBER = st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0, 1, -1, 10**300, 1e308])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)


def mostly(good: st.SearchStrategy) -> st.SearchStrategy:
    """Nearly always ``good``, else any JSON; so that some requests are good in all their parts."""
    return st.integers(0, 30).flatmap(lambda dice: JUNK if dice == 30 else good)


def block(kind: str, **fields: st.SearchStrategy) -> st.SearchStrategy:
    known = {"type": st.just(kind)} | {name: mostly(field) for name, field in fields.items()}
    return st.fixed_dictionaries(known, optional={"cache_control": JUNK})


IDS = st.sampled_from(["toolu_1", "toolu_2", "", "call_0"])
SOURCE = st.fixed_dictionaries(
    {
        "type": mostly(st.sampled_from(["base64", "url", "file", "text", "content"])),
        "media_type": mostly(st.sampled_from(["image/png", "application/pdf", "text/plain"])),
        "data": mostly(st.sampled_from(["", "iVBORw0KGgo=", "not base64 !"]) | TEXT),
        "url": TEXT,
        "file_id": TEXT,
        "content": JUNK,
    }
)
SIMPLE = st.one_of(
    block("text", text=TEXT),
    block("image", source=SOURCE),
    block("document", source=SOURCE, title=TEXT),
    block("search_result", source=TEXT, title=TEXT, content=st.just([])),
)
BLOCK = st.one_of(
    SIMPLE,
    block("thinking", thinking=TEXT, signature=TEXT),
    block("redacted_thinking", data=TEXT),
    block("tool_use", id=IDS, name=TEXT, input=st.dictionaries(TEXT, JUNK, max_size=3)),
    block("tool_result", tool_use_id=IDS, content=TEXT | st.lists(SIMPLE, max_size=3)),
    block("server_tool_use", id=IDS, name=TEXT, input=JUNK),
    block("web_search_tool_result", tool_use_id=IDS, content=JUNK),
    block("hologram"),
)
TURN = st.fixed_dictionaries(
    {
        "role": mostly(st.sampled_from(["user", "assistant", "system"])),
        "content": mostly(TEXT | st.lists(BLOCK, max_size=4)),
    }
)
SCHEMA = st.fixed_dictionaries(
    {"type": mostly(st.just("object"))},
    optional={
        "properties": mostly(st.dictionaries(TEXT, JUNK, max_size=3)),
        "required": mostly(st.lists(TEXT, max_size=2)),
        "additionalProperties": JUNK,
        "anyOf": JUNK,
        "$ref": TEXT,
    },
)
TOOL = st.fixed_dictionaries(
    {"name": mostly(TEXT)},
    optional={
        "description": mostly(TEXT),
        "input_schema": mostly(SCHEMA),
        "type": mostly(st.sampled_from(["custom", "web_search_20250305"])),
    },
)
REQUEST = st.fixed_dictionaries(
    {
        "model": mostly(st.sampled_from(["claude-sonnet-5", "qwen3-coder:30b", "gpt-4", ""])),
        "messages": mostly(st.lists(TURN, max_size=5)),
        "max_tokens": mostly(st.integers(1, 40_000)),
    },
    optional={
        "system": mostly(TEXT | st.lists(block("text", text=TEXT), max_size=2)),
        "tools": mostly(st.lists(TOOL, max_size=3)),
        "tool_choice": mostly(
            st.fixed_dictionaries(
                {"type": mostly(st.sampled_from(["auto", "any", "tool", "none"]))},
                optional={"name": TEXT, "disable_parallel_tool_use": mostly(st.booleans())},
            )
        ),
        "stream": mostly(st.booleans()),
        "temperature": mostly(st.floats(0, 1)),
        "top_p": mostly(st.floats(0, 1)),
        "top_k": mostly(st.integers(0, 100)),
        "stop_sequences": mostly(st.lists(TEXT, max_size=2)),
        "thinking": mostly(
            st.fixed_dictionaries({"type": st.sampled_from(["enabled", "disabled", "adaptive"])})
        ),
        "output_config": mostly(
            st.fixed_dictionaries(
                {}, optional={"effort": TEXT, "format": st.fixed_dictionaries({"schema": SCHEMA})}
            )
        ),
        "metadata": JUNK,
        "context_management": JUNK,
        "unknown": JUNK,
    },
)
DOCUMENTED = json.loads(openapi.document())["paths"]
PATH = st.sampled_from(["/v1/messages", "/v1/messages", "/v1/messages/count_tokens"])


def test_any_body_gets_an_answer_that_is_not_a_5xx(start, caplog):
    async def enter(stack: AsyncExitStack):
        engine = await stack.enter_async_context(OllamaEmulator(Answer("Hello ", "there.")))
        return await stack.enter_async_context(start(f"ollama:{engine.url}"))

    async def post(body: bytes, path: str) -> None:
        async with proxy.post(body, path) as response:
            answer = await response.read()
        assert response.status in {200, 400, 404}, answer
        assert str(response.status) in DOCUMENTED[path]["post"]["responses"]
        if response.status != 200:
            error = json.loads(answer)
            assert (error["type"], bool(error["error"]["message"])) == ("error", True)
        elif response.content_type == "text/event-stream":
            assert parse(answer)[-1]["type"] == "message_stop"
        else:
            assert json.loads(answer)

    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        proxy = runner.run(enter(stack))

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(REQUEST, PATH)
        def check_one(body, path) -> None:
            runner.run(post(json.dumps(body).encode(), path))

        try:
            check_one()
        finally:
            runner.run(stack.aclose())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
