"""Engines' bytes to clients' bytes: what comes out may not depend on where they are cut."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llmctl.protocol import sse
from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError
from llmctl.protocol.lines import StreamDecoder
from llmctl.protocol.ollama_stream import OllamaDecoder
from llmctl.protocol.openai_stream import OpenAIDecoder
from llmctl.protocol.stream import Composer
from tests.unit.protocol.streams import (
    TOOLS,
    ollama_call,
    ollama_done,
    ollama_line,
    openai_event,
    request,
    stream_of,
)
from tests.unit.protocol.test_salvage import FRAGMENTS

WORDS = (*FRAGMENTS, "Grüße ", "\U0001f600", "\ud83d".encode("utf-8", "replace").decode(), "\n")
ASKED = request(tools=TOOLS, stop_sequences=["STOP"])


@dataclass
class Result:
    """What a fuzzing run saw."""

    executions: int = 0
    different: int = 0
    crashes: int = 0
    example: str = ""
    crash: str = ""


def fuzz(wanted: int, *, seed: int = 20261123) -> Result:
    """Translate ``wanted`` times: each stream whole, then cut once at each of its bytes."""
    dice, result = random.Random(seed), Result()
    while result.executions < wanted:
        make, said = stream(dice)
        whole = _translated(make, [said], result)
        for cut in range(1, len(said)):
            parts = [said[:cut], said[cut:]]
            if _translated(make, parts, result) != whole and whole is not None:
                result.different += 1
                result.example = result.example or repr(parts)[:200]
        _translated(make, [said[at : at + 1] for at in range(len(said))], result)
    return result


def _translated(
    make: type[StreamDecoder], parts: Iterable[bytes], result: Result
) -> tuple[bytes, str] | None:
    result.executions += 1
    try:
        return translate(make, parts)
    except Exception as failure:  # what is looked for
        result.crashes += 1
        result.crash = result.crash or f"{type(failure).__name__}: {failure}"[:200]
        return None


def translate(make: type[StreamDecoder], parts: Iterable[bytes]) -> tuple[bytes, str]:
    """Return the client's stream, and the error it ended with."""
    composer, frames, error = Composer(ASKED), [], ""
    try:
        for chunk in _chunks(make(model="m", num_ctx=4096), parts):
            frames += sse.encode(composer.feed([chunk]))
            if composer.stop_matched:
                break
        frames += sse.encode(composer.finish())
    except ApiError as failure:
        error = failure.message
        frames += sse.encode(composer.fail(failure))
    return stream_of(frames), error


def _chunks(decoder: StreamDecoder, parts: Iterable[bytes]) -> Iterator[EngineChunk]:
    for part in parts:
        yield from decoder.feed(part)
    while not decoder.ended and (rest := decoder.finish()):
        yield from rest


def stream(dice: random.Random) -> tuple[type[StreamDecoder], bytes]:
    make, said = (
        (OllamaDecoder, _ollama(dice)) if dice.random() < 0.7 else (OpenAIDecoder, _openai(dice))
    )
    data = bytearray(said)
    for _ in range(dice.choice((0, 0, 1, 2))):
        at = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                del data[at : at + dice.randint(1, 30)]
            case 2:
                data[at:at] = dice.randbytes(dice.randint(1, 4))
            case _:
                del data[at:]
        if not data:
            data += b"\n"
    return make, bytes(data)


def _ollama(dice: random.Random) -> bytes:
    lines = []
    for _ in range(dice.randint(0, 4)):
        match dice.randrange(5):
            case 0:
                lines.append(ollama_line(thinking=dice.choice(WORDS)))
            case 1:
                lines.append(ollama_line(tool_calls=[ollama_call("Read", file_path="/a")]))
            case _:
                lines.append(ollama_line(content=dice.choice(WORDS)))
    ends = (ollama_done(), ollama_done(), ollama_done(), b'{"error":"boom"}\n', b"")
    return b"".join(lines) + dice.choice(ends) or b"\n"


def _openai(dice: random.Random) -> bytes:
    events = [openai_event(content=dice.choice(WORDS)) for _ in range(dice.randint(0, 3))]
    if dice.random() < 0.3:
        function = {"name": "Read", "arguments": json.dumps({"file_path": "/a"})}
        events.append(openai_event(tool_calls=[{"index": 0, "id": "c", "function": function}]))
    ends = (openai_event(finish_reason="stop") + b"data: [DONE]\n\n", b"data: [DONE]\n\n", b"")
    return b"".join(events) + dice.choice(ends) or b"\n"
