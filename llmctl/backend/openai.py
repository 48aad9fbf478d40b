"""OpenAI-compatible servers: llama.cpp and vLLM with what they add, others with the plain API."""

import hashlib
import re
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from llmctl.backend.base import Answer
from llmctl.backend.http import EngineHttp, Reply, decoded
from llmctl.config.schema import TimeoutConfig
from llmctl.core.model import EngineFacts, LoadedModel
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.protocol.openai import encode_chat
from llmctl.protocol.openai_stream import OpenAIDecoder

COUNT_S = 10.0
"""Counting renders and tokenizes a prompt of megabytes at worst."""
MAX_TOKENS_BYTES = 32 * 1024 * 1024
"""A list of token ids is about as long as the prompt itself."""

_EMBEDS = re.compile(r"(?<![a-z])embed(?:ding|dings)?(?![a-z])", re.IGNORECASE)
_NO_ENDPOINT = frozenset({404, 405, 501})
_IMAGE = b'"type":"image_url"'
"""How an image shows in an encoded request; its tokens no text endpoint counts."""


T = TypeVar("T")


class Flavour(StrEnum):
    """Which server it is, as far as its endpoints tell."""

    LLAMA_CPP = "llama.cpp"
    VLLM = "vllm"
    PLAIN = "plain"


class _Listed(Struct):
    id: str
    owned_by: str | None = None
    root: str | None = None
    max_model_len: int | None = None
    meta: dict[str, Any] | None = None


class _Listing(Struct):
    data: list[_Listed] | None = None


class _Vector(Struct):
    embedding: list[float]


class _Embedded(Struct):
    """``/v1/embeddings``."""

    data: list[_Vector]


class _Props(Struct):
    """llama.cpp's ``/props``."""

    default_generation_settings: dict[str, Any] | None = None
    build_info: str | None = None
    model_path: str | None = None
    chat_template: str | None = None
    chat_template_caps: dict[str, Any] | None = None
    modalities: dict[str, Any] | None = None


class _Version(Struct):
    """vLLM's ``/version``."""

    version: str


class _Prompt(Struct):
    prompt: str


class _Tokens(Struct):
    tokens: list[int]


_decode_listing = msgspec.json.Decoder(_Listing, strict=False).decode
_decode_props = msgspec.json.Decoder(_Props, strict=False).decode
_decode_version = msgspec.json.Decoder(_Version).decode
_decode_prompt = msgspec.json.Decoder(_Prompt).decode
_decode_tokens = msgspec.json.Decoder(_Tokens).decode
_decode_embedded = msgspec.json.Decoder(_Embedded).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.encode

_TEMPLATE_FIELDS = frozenset(
    {
        "model",
        "messages",
        "tools",
        "chat_template_kwargs",
        "continue_final_message",
        "add_generation_prompt",
    }
)
"""What vLLM's ``/tokenize`` shares with its chat endpoint."""


class OpenAIEngine:
    """``Engine`` on an OpenAI-compatible server.

    ``url`` is ``http(s)://host[:port][/prefix]`` without a slash at its end, with ``/v1`` or not.
    ``api_key`` is sent as a bearer token.
    """

    kind = "openai"

    def __init__(self, url: str, *, timeouts: TimeoutConfig, api_key: str | None = None) -> None:
        address = url.removesuffix("/v1")
        self._http = EngineHttp(address, timeouts, api_key=api_key)
        self.name = f"{self.kind}:{address}"
        self._has_key = api_key is not None
        self._flavour: Flavour | None = None
        self._counts = True
        self.facts = EngineFacts()

    async def discover(self) -> list[EngineModel]:
        """Return its models from ``/v1/models`` and, on llama.cpp, ``/props``."""
        began = time.monotonic()
        try:
            listed = await self._list()
            latency_ms = round((time.monotonic() - began) * 1000, 2)
            props = await self._props(listed)
        except ApiError:
            # Another server may come up at this address.
            self._flavour, self._counts, self.facts = None, True, EngineFacts()
            raise
        models = [_model(one, props) for one in listed]
        self.facts = EngineFacts(
            version=await self._version(props),
            latency_ms=latency_ms,
            loaded=() if self._flavour is Flavour.PLAIN else _in_memory(models),
        )
        return models

    def chat(self, plan: ChatPlan) -> Answer:
        """Generate with ``POST /v1/chat/completions``."""
        decoder = OpenAIDecoder(model=plan.model.name, num_ctx=plan.num_ctx)
        return self._http.answer(
            "/v1/chat/completions",
            encode_chat(plan),
            decoder,
            # llama.cpp closes after every stream, although it announces keep-alive
            reusable=self._flavour is not Flavour.LLAMA_CPP,
        )

    async def count(self, request: MessagesRequest, model: EngineModel) -> int | None:
        """Return what the server's own template and tokenizer make of a request.

        None where it has no endpoint for that, and for requests with images. Raises ``ApiError``
        when the server does not answer.
        """
        if not self._counts or self._flavour in {None, Flavour.PLAIN}:
            return None
        body = encode_chat(ChatPlan(request=request, model=model, num_ctx=None, max_tokens=1))
        if _IMAGE in body:
            return None
        if self._flavour is Flavour.VLLM:
            fields = {
                key: raw for key, raw in _decode_fields(body).items() if key in _TEMPLATE_FIELDS
            }
            return await self._count_tokens(_encode(fields))
        rendered = await self._ask("/apply-template", body, _decode_prompt)
        if rendered is None:
            return None
        content = {"content": rendered.prompt, "add_special": True, "parse_special": True}
        return await self._count_tokens(_encode(content))

    async def vocabulary(self, _model: EngineModel) -> dict[str, Any] | None:
        """Return None: these servers count, but do not hand out what they count with."""
        return None

    async def embed(
        self, text: str, model: EngineModel, *, keep_alive: str, within_s: float
    ) -> list[float]:
        """Return the vector of ``text`` from ``/v1/embeddings``; raises ``ApiError``.

        These servers keep what they have loaded: ``keep_alive`` is not theirs.
        """
        del keep_alive
        body = _encode({"model": model.name, "input": text, "encoding_format": "float"})
        reply = await self._http.post("/v1/embeddings", body, within_s=within_s)
        found = decoded(reply, _decode_embedded, source=f"{self._http.address}/v1/embeddings")
        return found.data[0].embedding if found.data else []

    async def loaded(self) -> frozenset[str]:
        """Return nothing: what these servers serve, they keep."""
        return frozenset()

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def _list(self) -> list[_Listed]:
        reply = await self._http.get("/v1/models")
        if reply.status == 401:
            which = "refuses the key it was sent" if self._has_key else "asks for a key"
            message = f"the engine at {self._http.address} {which} (LLMCTL_BACKEND_API_KEY)"
            raise overloaded(message)
        return decoded(reply, _decode_listing, source=f"{self._http.address}/v1/models").data or []

    async def _props(self, listed: list[_Listed]) -> _Props:
        """Find out, once, which server it is; on llama.cpp return its properties."""
        if any(one.owned_by == "vllm" for one in listed):
            self._flavour = Flavour.VLLM
        if self._flavour in {Flavour.VLLM, Flavour.PLAIN}:
            return _Props()
        reply = await self._http.get("/props")
        if reply.status != 200 and reply.status not in _NO_ENDPOINT:
            return _Props()
        props = _read_props(reply)
        self._flavour = Flavour.PLAIN if props is None else Flavour.LLAMA_CPP
        return props or _Props()

    async def _version(self, props: _Props) -> str:
        """Return llama.cpp's build, vLLM's version, nothing of others."""
        if self._flavour is not Flavour.VLLM:
            return props.build_info or ""
        if not self.facts.version:
            reply = await self._http.get("/version")
            return _read_version(reply)
        return self.facts.version

    async def _count_tokens(self, body: bytes) -> int | None:
        found = await self._ask("/tokenize", body, _decode_tokens)
        return None if found is None else len(found.tokens)

    async def _ask(self, path: str, body: bytes, decoder: Callable[[bytes], T]) -> T | None:
        """Return the decoded answer; None, for ever if there is no such endpoint, where refused."""
        reply = await self._http.post(path, body, max_bytes=MAX_TOKENS_BYTES, within_s=COUNT_S)
        if reply.status in _NO_ENDPOINT:
            self._counts = False
        if reply.status != 200:
            return None
        return decoded(reply, decoder, source=self._http.address + path)


def _read_props(reply: Reply) -> _Props | None:
    try:
        props = _decode_props(reply.body) if reply.status == 200 else _Props()
    except (ValueError, RecursionError):
        return None
    return props if props.default_generation_settings is not None else None


def _read_version(reply: Reply) -> str:
    try:
        return _decode_version(reply.body).version if reply.status == 200 else ""
    except (ValueError, RecursionError):
        return ""


def _in_memory(models: list[EngineModel]) -> tuple[LoadedModel, ...]:
    return tuple(LoadedModel(name=one.name, context_tokens=one.context_length) for one in models)


def _model(listed: _Listed, props: _Props) -> EngineModel:
    meta = listed.meta or {}
    return EngineModel(
        name=listed.id,
        digest=_digest(listed, props),
        context_length=_context(listed, props),
        capabilities=_capabilities(props) | _embedding(listed),
        family=str(meta.get("architecture") or ""),
    )


def _digest(listed: _Listed, props: _Props) -> str:
    """Return what changes with the model and its template, but not when the server restarts."""
    meta = {key: value for key, value in (listed.meta or {}).items() if key != "n_ctx"}
    facts = [listed.id, listed.root, props.model_path, props.chat_template, meta]
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()


def _context(listed: _Listed, props: _Props) -> int | None:
    settings = props.default_generation_settings or {}
    meta = listed.meta or {}
    found = settings.get("n_ctx") or listed.max_model_len or meta.get("n_ctx")
    return found if type(found) is int and found > 0 else None


def _embedding(listed: _Listed) -> frozenset[str]:
    """Guess by its name what no listing says; it may still chat, for all we know."""
    return frozenset({"embedding"} if _EMBEDS.search(listed.id) else ())


def _capabilities(props: _Props) -> frozenset[str]:
    """Tell from llama.cpp's template what it does with tools; others are taken at their word."""
    template = props.chat_template
    caps = props.chat_template_caps or {}
    tools = caps.get("supports_tools", template is None or "tools" in template)
    found = {
        "completion": True,
        "tools": tools,
        "vision": (props.modalities or {}).get("vision"),
        "thinking": template is not None and "enable_thinking" in template,
    }
    return frozenset(name for name, has in found.items() if has)
