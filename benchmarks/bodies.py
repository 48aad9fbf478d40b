"""Requests of a given size, shaped as Claude Code's."""

import random
import time
from typing import Any

from tests.claude_shapes import encode, main_request, prose, user_turn

SESSION = "f2b547e0-39ce-4115-9abf-d0948be9129d"
"""What stands in ``metadata`` for the session: 36 characters that occur once."""


def agent_request(size: int, *, stream: bool) -> dict[str, Any]:
    """Return a first request of Claude Code that encodes to ``size`` bytes.

    Without some of its largest tools if that is too much, with a longer prompt if too little.
    """
    request = main_request(stream=stream, session=SESSION)
    while len(encode(request)) > size and request["tools"]:
        request["tools"].remove(max(request["tools"], key=lambda tool: len(encode(tool))))
    missing = size - len(encode(request))
    if missing < 0:
        raise SystemExit(f"a body of {size} bytes is too small, the least is {size - missing}")
    # every character one byte: a line feed would be two in JSON
    request["messages"][0]["content"][-1]["text"] += prose(missing, start=5).replace("\n", " ")
    return request


def never_seen(size: int, number: int) -> bytes:
    """Return the streamed request of a second turn, of which only the last words are new."""
    first = agent_request(size - 400, stream=True)
    prompt = f"Now look at the next of them: {number} at {time.time_ns()}."
    request = user_turn(first, "The first two look good.", prompt)
    missing = size - len(encode(request))
    request["messages"][-1]["content"][0]["text"] += "." * missing
    return encode(request)


def all_new(size: int, number: int) -> bytes:
    """Return a streamed request of one long text in which no paragraph has been seen before."""
    words = random.Random(f"{number} {time.time_ns()}")
    text = " ".join(words.choice(_WORDS) for _ in range(size // 4))[: size - 120]
    request = {
        "model": "qwen3-coder",
        "max_tokens": 1024,
        "stream": True,
        "messages": [{"role": "user", "content": text}],
    }
    return encode(request)


_WORDS = prose(4000).split()


def http(path: str, body: bytes, *, port: int, token: str | None = None) -> bytes:
    """Return one POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "anthropic-version: 2023-06-01",
        f"Content-Length: {len(body)}",
    ]
    if token:
        lines.append(f"x-api-key: {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body
