"""Baselines: what plain aiohttp does for the same job, with nothing of llmctl in it.

``python -m benchmarks.bare hit --port N --answer FILE [--redis URL]``, ``relay --port N --engine
URL`` or ``anthropic --port N --answer FILE``.
"""

import argparse
import asyncio
import hashlib
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import web

try:
    import orjson
except ImportError:  # the proxy does without, so it may be missing
    orjson = None

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
encode_sorted = msgspec.json.Encoder(order="sorted").encode
if orjson is not None:  # a little quicker at sorting

    def encode_sorted(value: object) -> bytes:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def hit_app(answer: bytes, redis_url: str | None) -> web.Application:
    """Read, parse, hash the sorted form, find the answer, write it."""
    known: dict[bytes, bytes] = {}
    redis = None

    async def messages(request: web.Request) -> web.Response:
        asked = decode(await request.read())
        asked.pop("metadata", None)  # differs in every session, means nothing
        key = hashlib.sha256(encode_sorted(asked)).digest()
        if redis is None:
            found = known.setdefault(key, answer)
        else:
            found = await redis.get(key)
            if found is None:
                await redis.set(key, answer)
                found = answer
        return web.Response(body=found, headers=HEADERS)

    async def connect(_app: web.Application) -> None:
        nonlocal redis
        if redis_url:
            from redis.asyncio import Redis

            redis = Redis.from_url(redis_url)

    app = _app(messages)
    app.on_startup.append(connect)
    return app


def relay_app(engine: str) -> web.Application:
    """Read, parse, ask the engine, rewrite each line, one write a token."""

    async def messages(request: web.Request) -> web.StreamResponse:
        asked = decode(await request.read())
        body = encode({"model": asked["model"], "messages": asked["messages"], "stream": True})
        del asked
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        async with request.app[session_key].post(f"{engine}/api/chat", data=body) as upstream:
            rest = b""
            async for data in upstream.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await response.write(_event(line))
        await response.write_eof()
        return response

    session_key = web.AppKey("session", aiohttp.ClientSession)

    async def session(app: web.Application):
        app[session_key] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(None),
            headers={"Content-Type": "application/json"},
        )
        yield
        await app[session_key].close()

    app = _app(messages)
    app.cleanup_ctx.append(session)
    return app


def _event(line: bytes) -> bytes:
    delta = {"type": "text_delta", "text": decode(line)["message"]["content"]}
    event = {"type": "content_block_delta", "index": 0, "delta": delta}
    return b"event: content_block_delta\ndata: %b\n\n" % encode(event)


def anthropic_app(text: str) -> web.Application:
    """Answer as Anthropic's API does, stream or not; for proxies that want such an engine."""
    pieces = [text[at : at + 125] for at in range(0, len(text), 125)]
    usage = {"input_tokens": 20_000, "output_tokens": len(pieces)}
    message = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    block = {"index": 0, "content_block": {"type": "text", "text": ""}}
    start = message | {"content": [], "stop_reason": None}
    end = {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    deltas = [{"index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces]
    events = [
        _named("message_start", {"message": start}),
        _named("content_block_start", block),
        *(_named("content_block_delta", delta) for delta in deltas),
        _named("content_block_stop", {"index": 0}),
        _named("message_delta", end),
        _named("message_stop", {}),
    ]

    async def messages(request: web.Request) -> web.Response:
        asked = decode(await request.read())
        if asked.get("stream"):
            return web.Response(body=b"".join(events), headers=HEADERS)
        return web.json_response(message)

    return _app(messages)


def _named(name: str, fields: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode({"type": name} | fields))


def _app(messages: object) -> web.Application:
    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_post("/v1/messages", messages)
    return app


async def serve(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["hit", "relay", "anthropic"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", type=Path)
    parser.add_argument("--redis")
    parser.add_argument("--engine")
    options = parser.parse_args()
    if options.kind == "hit":
        app = hit_app(options.answer.read_bytes(), options.redis)
    elif options.kind == "anthropic":
        app = anthropic_app(options.answer.read_text())
    else:
        app = relay_app(options.engine)
    asyncio.run(serve(app, options.port))


if __name__ == "__main__":
    main()
