"""CPU of a streamed token, from an engine's bytes to a client's, without sockets.

``python -m benchmarks.relay_cpu [--tokens 4000] [--rounds 9]``. The baseline is the loop anybody
would write first: ``json.loads`` of each line, ``json.dumps`` of the event. Rounds are interleaved
in one process; the figure is the best round of each, as CPU time.
"""

import argparse
import json
import time
from collections.abc import Callable

from llmctl.protocol import sse
from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.ollama_stream import OllamaDecoder
from llmctl.protocol.openai_stream import OpenAIDecoder
from llmctl.protocol.stream import Composer

TOOLS = [Tool(name=name, input_schema={"type": "object"}) for name in ("Bash", "Read", "Write")]
REQUESTS = {
    "plain": MessagesRequest(model="m", messages=[]),
    "tools": MessagesRequest(model="m", messages=[], tools=TOOLS),
    "tools, stop sequences": MessagesRequest(
        model="m", messages=[], tools=TOOLS, stop_sequences=["\n\nHuman:", "STOP"]
    ),
}
BURSTS = (1, 50)
"""Tokens in one read of the socket: 1 is a stream at an engine's pace, more is a backlog."""


def ollama(tokens: list[str]) -> list[bytes]:
    def line(text: str, **more: object) -> bytes:
        head = {"model": "qwen3-coder:30b", "created_at": "2026-11-22T19:06:18.364213872Z"}
        message = {"role": "assistant", "content": text}
        return json.dumps({**head, "message": message, "done": False, **more}).encode() + b"\n"

    end = line("", done=True, done_reason="stop", eval_count=len(tokens))
    return [*map(line, tokens), end]


def openai(tokens: list[str]) -> list[bytes]:
    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795374378}
        body = {**head, "model": "qwen3-coder", "choices": [choice]}
        return b"data: " + json.dumps(body).encode() + b"\n\n"

    return [*(event({"content": text}) for text in tokens), event({}, "stop"), b"data: [DONE]\n\n"]


def bare(reads: list[bytes]) -> int:
    """Rewrite Ollama's lines the plain way; returns the bytes made, so that nothing is skipped."""
    made = 0
    rest = b""
    for data in reads:
        *lines, rest = (rest + data).split(b"\n")
        out = []
        for line in lines:
            text = json.loads(line)["message"]["content"]
            delta = {"type": "text_delta", "text": text}
            event = {"type": "content_block_delta", "index": 0, "delta": delta}
            out.append(f"event: content_block_delta\ndata: {json.dumps(event)}\n\n".encode())
        made += len(b"".join(out))
    return made


def ours(
    reads: list[bytes], decoder: OllamaDecoder | OpenAIDecoder, request: MessagesRequest
) -> int:
    composer = Composer(request, input_tokens=20_000)
    made = 0
    for data in reads:
        made += len(sse.join(sse.encode(composer.feed(decoder.feed(data)))))
    return made + len(sse.join(sse.encode(composer.finish())))


def in_bursts(lines: list[bytes], burst: int) -> list[bytes]:
    return [b"".join(lines[at : at + burst]) for at in range(0, len(lines), burst)]


def candidates(tokens: list[str], burst: int) -> dict[str, Callable[[], int]]:
    lines = in_bursts(ollama(tokens), burst)
    events = in_bursts(openai(tokens), burst)
    found: dict[str, Callable[[], int]] = {"bare json loop": lambda: bare(lines)}
    for name, request in REQUESTS.items():
        found[f"ollama, {name}"] = lambda request=request: ours(
            lines, OllamaDecoder(model="m"), request
        )
    found["openai, tools"] = lambda: ours(events, OpenAIDecoder(model="m"), REQUESTS["tools"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    tokens = [(" word", "Name", "(", "\n", " 世界", "_x")[at % 6] for at in range(options.tokens)]
    for burst in BURSTS:
        runs = candidates(tokens, burst)
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(options.rounds):
            for name, run in runs.items():
                began = time.process_time()
                run()
                best[name] = min(best[name], time.process_time() - began)
        print(f"{burst} token(s) a read:")
        for name, seconds in best.items():
            ratio = seconds / best["bare json loop"]
            print(f"  {name:32} {seconds / len(tokens) * 1e6:6.2f} us/token  {ratio:5.2f}x bare")


if __name__ == "__main__":
    main()
