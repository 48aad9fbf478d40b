"""A source of numbered tokens that costs little, for benchmarks; see ``ollama.py`` for its use."""

import argparse
import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.emulators.ollama import Answer, Model, OllamaEmulator, line


class TokenSource(OllamaEmulator):
    """Answers every chat with the same numbered tokens (``t0 t1 …``), rendered beforehand.

    ``rate`` is tokens per second of one stream, 0 for as fast as the socket takes them; then
    ``burst`` lines go into one write.
    """

    def __init__(
        self,
        *,
        tokens: int,
        rate: float,
        burst: int,
        first_ms: float,
        text: str | None,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        words = [f"t{number} " for number in range(tokens)]
        if text is not None:
            words = [text[start : start + 4] for start in range(0, len(text), 4)]
        model = self.models[0].name
        lines = [line(model, {"role": "assistant", "content": word}) for word in words]
        size = 1 if rate else burst
        self._writes = [b"".join(lines[at : at + size]) for at in range(0, len(lines), size)]
        self._gap_s = 1 / rate if rate else 0.0
        self._first_s = first_ms / 1000
        metrics = self.metrics({}, Answer(prompt_tokens=1000, completion_tokens=len(words)))
        self._last = line(model, {"role": "assistant", "content": ""}, metrics)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/api/chat":
            return await super().handle(request)
        await request.content.read()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        if self._first_s:
            await asyncio.sleep(self._first_s)
        await response.prepare(request)
        await self._write_all(response)
        await response.write_eof(self._last)
        return response

    async def _write_all(self, response: web.StreamResponse) -> None:
        if not self._gap_s:
            for data in self._writes:
                await response.write(data)
            return
        due = time.monotonic()
        for data in self._writes:
            await response.write(data)
            due += self._gap_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ollama emulator for benchmarks")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.0, help="tokens/s of a stream, 0 = at once")
    parser.add_argument("--burst", type=int, default=1, help="lines in one write at rate 0")
    parser.add_argument(
        "--first-ms", type=float, default=0.0, help="silence before the first token"
    )
    parser.add_argument("--text-file", type=Path, help="answer with this text instead")
    parser.add_argument("--model", default=Model().name)
    parser.add_argument("--vocabulary", type=Path, help="JSON of tokenizer.ggml.* values")
    return parser.parse_args()


async def _serve() -> None:
    options = _arguments()
    source = TokenSource(
        tokens=options.tokens,
        rate=options.rate,
        burst=options.burst,
        first_ms=options.first_ms,
        text=options.text_file.read_text() if options.text_file else None,
        models=(Model(name=options.model),),
        vocabulary=json.loads(options.vocabulary.read_text()) if options.vocabulary else None,
        port=options.port,
    )
    async with source:
        sys.stdout.write(f"{source.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
