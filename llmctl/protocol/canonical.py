"""The keys of the response cache: equal exactly when the answer may be shared.

Both are HMAC-SHA256 under the server's own secret, so nobody can make two requests collide, nor
tell from a stored key what was asked. Every part is preceded by its length: no two different lists
of parts have the same bytes.
"""

import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.dialogue import numbered
from llmctl.protocol.remembered import Remembered

ANSWER_TAG = b"llmctl answer 2"
"""Changes with the layout below or with the normal form, so that old entries are not found."""
RAW_TAG = b"llmctl raw 1"

_encode = msgspec.json.Encoder(order="sorted").encode


def _digest_of(tools: list[Tool]) -> str:
    return hashlib.sha256(_encode(tools)).hexdigest()


_tools = Remembered(_digest_of)
"""Stands for tools in what is hashed: they are most of it, and the same in every request."""


def answer_key(
    secret: bytes,
    *,
    tenant: str,
    model_digest: str,
    options: Mapping[str, object],
    request: MessagesRequest,
) -> bytes:
    """Return the 32-byte key of the answer to a request in normal form.

    ``options`` is what else decides the answer, such as the context window. The model's name is
    not in the key, its digest is: aliases of one model share their answers. Call ids count by
    position, since every answer and every replay brings fresh ones.
    """
    thinking = request.thinking
    asked = {
        "system": request.system,
        "messages": numbered(request.messages),
        "tools": None if request.tools is None else _tools(request.tools),
        "tool_choice": request.tool_choice,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": request.stop_sequences,
        "thinking": None if thinking is None else thinking.type,
        "output_config": request.output_config,
    }
    parts = (_encode(dict(options)), _encode(asked))
    return _digest(secret, ANSWER_TAG, tenant.encode(), model_digest.encode(), *parts)


def raw_key(secret: bytes, *, tenant: str, body: bytes) -> bytes:
    """Return the 32-byte key of exactly these bytes from this tenant.

    It stands for an answer key only while the model and the options stay as they were.
    """
    return _digest(secret, RAW_TAG, tenant.encode(), body)


def _digest(secret: bytes, *parts: bytes) -> bytes:
    framed = b"".join(piece for part in parts for piece in (len(part).to_bytes(8, "big"), part))
    return hmac.digest(secret, framed, "sha256")
