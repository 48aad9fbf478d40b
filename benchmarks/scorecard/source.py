"""An Ollama that says numbered, stamped and checksummed words, in a process of its own.

``python -m benchmarks.scorecard.source --port N``. What a stream says is in its prompt: ``stream
NUMBER WORDS PER_SECOND``. A word is ``stream.number.nanoseconds.crc``; times are the machine's own.
"""

import argparse
import asyncio
import json
import re
import time
import zlib
from typing import Any

from aiohttp import web

from tests.emulators.ollama import Answer, OllamaEmulator, line

WORD = re.compile(rb"(\d+)\.(\d+)\.(\d+)\.(\d+) ")
_ORDER = re.compile(r"stream (\d+) (\d+) ([\d.]+)")


def word(stream: int, number: int) -> str:
    """Return one word, with the time of its making."""
    said = f"{stream}.{number}.{time.monotonic_ns()}"
    return f"{said}.{zlib.crc32(said.encode())} "


class Source(OllamaEmulator):
    """Paces every stream by the clock: a late word makes no later ones late."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != "/api/chat":
            return await super().handle(request)
        asked = json.loads(await request.content.read())
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        order = _ORDER.search(json.dumps(asked["messages"]))
        count = await self._say(response, order) if order else 0
        metrics = self.metrics({}, Answer(prompt_tokens=100, completion_tokens=max(1, count)))
        await response.write_eof(line(asked["model"], _message(""), metrics))
        return response

    async def _say(self, response: web.StreamResponse, order: re.Match[str]) -> int:
        stream, count, per_s = int(order[1]), int(order[2]), float(order[3])
        began = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            await response.write(line("m", _message(word(stream, number))))
        return count


def _message(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


async def _serve(port: int) -> None:
    async with Source(port=port):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
