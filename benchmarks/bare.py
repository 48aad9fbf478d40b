"""Baselines: what plain aiohttp does for the same job, with nothing of llmctl in it.

``python -m benchmarks.bare hit --port N --answer FILE [--redis URL]`` or ``relay --port N --engine URL``.
"""

import argparse
import asyncio
import hashlib
import json

import aiohttp
import msgspec
from aiohttp import web

HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


def hit_app(answer: bytes, redis_url: str | None) -> web.Application:
    """Read, parse, hash the sorted form, find the answer, write it."""
    known: dict[bytes, bytes] = {}
    decode = msgspec.json.Decoder().decode
    encode = msgspec.json.Encoder(order="sorted").encode
    redis = None

    async def messages(request: web.Request) -> web.Response:
        key = hashlib.sha256(encode(decode(await request.read()))).digest()
        if redis is not None:
            found = await redis.get(key)
            if found is None:
                await redis.set(key, answer)
                found = answer
        else:
            found = known.setdefault(key, answer)
        return web.Response(body=found, headers=HEADERS)

    async def connect(_app: web.Application) -> None:
        nonlocal redis
        if redis_url:
            from redis.asyncio import Redis

            redis = Redis.from_url(redis_url, max_connections=64)

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_post("/v1/messages", messages)
    app.on_startup.append(connect)
    return app


def relay_app(engine: str) -> web.Application:
    """Read, parse, ask the engine, rewrite each line, one write a token."""

    async def messages(request: web.Request) -> web.StreamResponse:
        asked = json.loads(await request.read())
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        body = {"model": asked["model"], "messages": asked["messages"], "stream": True}
        async with request.app["session"].post(f"{engine}/api/chat", json=body) as upstream:
            rest = b""
            async for data in upstream.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    text = json.loads(line)["message"]["content"]
                    delta = {
                        "type": "content_block_delta",
                        "index": 0,
                        "delta": {"type": "text_delta", "text": text},
                    }
                    event = f"event: content_block_delta\ndata: {json.dumps(delta)}\n\n"
                    await response.write(event.encode())
        await response.write_eof()
        return response

    async def session(app: web.Application):
        app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield
        await app["session"].close()

    app = web.Application(client_max_size=32 * 1024 * 1024)
    app.router.add_post("/v1/messages", messages)
    app.cleanup_ctx.append(session)
    return app


async def serve(app: web.Application, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["hit", "relay"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer")
    parser.add_argument("--redis")
    parser.add_argument("--engine")
    options = parser.parse_args()
    if options.kind == "hit":
        with open(options.answer, "rb") as file:
            app = hit_app(file.read(), options.redis)
    else:
        app = relay_app(options.engine)
    asyncio.run(serve(app, options.port))


if __name__ == "__main__":
    main()
