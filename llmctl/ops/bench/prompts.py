"""What an engine is asked: texts that no cache has seen, of about a known number of tokens."""

import random
import secrets
from typing import Any

import msgspec

from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode

_WORDS = str.split(
    "time year people way day man thing woman life child world school state family student "
    "group country problem hand part place case week company system program question work "
    "night point home water room mother area money story fact month lot right study book "
    "eye job word business issue side kind head house service friend father power hour game "
    "line end member law car city "
)
"""Each is one token in every vocabulary worth the name."""
_WRITE = "Write a long story about a lighthouse and go on until you are stopped."


def long_prompt(tokens: int) -> str:
    """Return a text of about ``tokens`` tokens that begins as no other does."""
    nonce = secrets.token_hex(8)
    pick = random.Random(nonce)  # noqa: S311  words, not secrets
    return f"{nonce} " + " ".join(pick.choices(_WORDS, k=max(tokens - 16, 1)))


def about(text: str, number: int) -> MessagesRequest:
    """Return a request on ``text`` whose end alone differs from those of other numbers."""
    return _request(f"{text}\n\nHow many times does the word number {number} of it occur?", 8)


def story(tokens: int) -> MessagesRequest:
    """Return a short request, like no other, for an answer of ``tokens`` tokens."""
    return _request(f"{secrets.token_hex(4)}: {_WRITE}", tokens)


def _request(text: str, max_tokens: int) -> MessagesRequest:
    body: dict[str, Any] = {
        "model": "bench",
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": text}],
    }
    return normalise(decode(msgspec.json.encode(body)), stable_prefix=True)
