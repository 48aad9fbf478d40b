"""Ollama's native API: what it serves, its answers and its vocabularies."""

import asyncio
import contextlib
import re
import time
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.backend.base import Answer
from llmctl.backend.http import Connector, EngineHttp, Reply, decoded
from llmctl.config.schema import TimeoutConfig
from llmctl.core.model import EngineFacts, LoadedModel
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.protocol.ollama import encode_chat
from llmctl.protocol.ollama_stream import OllamaDecoder

MAX_VOCABULARY_BYTES = 32 * 1024 * 1024
"""Vocabularies of a quarter of a million tokens come to some 10 MB."""
VOCABULARY_S = 30.0
SHOWS_AT_ONCE = 8
SHOWS_S = 2.0
"""How long one discovery waits for descriptions; those that come later count the next time."""

ASSUMED = ("completion", "tools")
"""Capabilities of a model about which nothing is said."""

_RENDERER = re.compile(r"^RENDERER +(\S+)", re.MULTILINE)


class _Details(Struct):
    family: str | None = None
    context_length: int | None = None


class _Listed(Struct):
    """A model in ``/api/tags`` and ``/api/ps``; older versions leave most of it out."""

    name: str
    digest: str | None = None
    size: int | None = None
    size_vram: int | None = None
    details: _Details | None = None
    capabilities: list[str] | None = None
    context_length: int | None = None

    @property
    def identity(self) -> str:
        """The digest, or what comes nearest to one."""
        return self.digest or f"{self.name}@{self.size}"


class _Listing(Struct):
    models: list[_Listed] | None = None


class _Version(Struct):
    """``/api/version``."""

    version: str


class _Embedded(Struct):
    """``/api/embed``."""

    embeddings: list[list[float]]


class _Shown(Struct):
    """``/api/show``."""

    modelfile: str | None = None
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None


_decode_listing = msgspec.json.Decoder(_Listing, strict=False).decode
_decode_shown = msgspec.json.Decoder(_Shown, strict=False).decode
_decode_version = msgspec.json.Decoder(_Version).decode
_decode_embedded = msgspec.json.Decoder(_Embedded).decode
_NOTHING_SHOWN = _Shown()


class OllamaEngine:
    """``Engine`` on an Ollama server at ``url``, as ``config.addresses`` writes it.

    ``connector`` as in ``EngineHttp``.
    """

    kind = "ollama"

    def __init__(
        self, url: str, *, timeouts: TimeoutConfig, connector: Connector | None = None
    ) -> None:
        self._http = EngineHttp(url, timeouts, connector=connector)
        self.name = f"{self.kind}:{url}"
        self._shown: dict[str, _Shown] = {}
        self.facts = EngineFacts()

    async def discover(self) -> list[EngineModel]:
        """Return its models: names from ``/api/tags``, the rest from ``/api/show``, once each."""
        listed = await self._list("/api/tags")
        loaded = await self._loaded()
        self.facts = await self._describe(loaded)
        await self._show_new(listed)
        return [
            _model(one, self._shown.get(one.identity, _NOTHING_SHOWN), loaded.get(one.name))
            for one in listed
        ]

    def chat(self, plan: ChatPlan) -> Answer:
        """Generate with ``POST /api/chat``."""
        decoder = OllamaDecoder(model=plan.model.name, num_ctx=plan.num_ctx)
        return self._http.answer("/api/chat", encode_chat(plan), decoder)

    async def count(self, _request: MessagesRequest, _model: EngineModel) -> int | None:
        """Return None: Ollama has no endpoint for it."""
        return None

    async def vocabulary(self, model: EngineModel) -> dict[str, Any] | None:
        """Return ``model_info`` of the verbose ``/api/show``; raises ``ApiError``."""
        body = msgspec.json.encode({"model": model.name, "verbose": True})
        reply = await self._http.post(
            "/api/show", body, max_bytes=MAX_VOCABULARY_BYTES + 1, within_s=VOCABULARY_S
        )
        if reply.status == 200 and len(reply.body) > MAX_VOCABULARY_BYTES:
            return None
        return decoded(reply, _decode_shown, source=f"{self._http.address}/api/show").model_info

    async def embed(
        self, text: str, model: EngineModel, *, keep_alive: str, within_s: float
    ) -> list[float]:
        """Return the vector of ``text`` from ``/api/embed``; raises ``ApiError``.

        On the processor: in GPU memory it would have to fit beside the model that chats, or Ollama
        would drop that one.
        """
        asked = {"model": model.name, "input": text, "truncate": True, "keep_alive": keep_alive}
        body = msgspec.json.encode(asked | {"options": {"num_gpu": 0}})
        reply = await self._http.post("/api/embed", body, within_s=within_s)
        found = decoded(reply, _decode_embedded, source=f"{self._http.address}/api/embed")
        return found.embeddings[0] if found.embeddings else []

    async def loaded(self) -> frozenset[str]:
        """Return the names of the models in memory."""
        return frozenset(await self._loaded())

    async def close(self) -> None:
        """Close connections."""
        await self._http.close()

    async def _list(self, path: str) -> list[_Listed]:
        reply = await self._http.get(path)
        if reply.status == 403 and not reply.body:
            # Bound to loopback, Ollama answers so to names it does not know as its own.
            message = f"Ollama at {self._http.address} refuses to be called by this host name"
            raise ApiError(502, f"{message} (HTTP 403); use its IP address", another_backend=True)
        return decoded(reply, _decode_listing, source=self._http.address + path).models or []

    async def _loaded(self) -> dict[str, _Listed]:
        """Return what is in memory now; nothing where it does not say."""
        try:
            return {one.name: one for one in await self._list("/api/ps")}
        except ApiError:
            return {}

    async def _describe(self, loaded: dict[str, _Listed]) -> EngineFacts:
        """Ask for the version, which every answer but this one takes longer than."""
        version, began = "", time.monotonic()
        with contextlib.suppress(ApiError):
            reply = await self._http.get("/api/version")
            version = decoded(reply, _decode_version, source=self._http.address).version
        return EngineFacts(
            version=version,
            latency_ms=round((time.monotonic() - began) * 1000, 2) if version else None,
            loaded=tuple(_in_memory(one) for one in loaded.values()),
        )

    async def _show_new(self, listed: list[_Listed]) -> None:
        """Ask for descriptions not seen yet, as many as come in time."""
        names = {one.identity: one.name for one in listed}
        self._shown = {
            identity: self._shown[identity] for identity in names if identity in self._shown
        }
        gate = asyncio.Semaphore(SHOWS_AT_ONCE)
        new = names.keys() - self._shown.keys()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHOWS_S):
                await asyncio.gather(*(self._show(names[key], key, gate) for key in new))

    async def _show(self, name: str, identity: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            with contextlib.suppress(ApiError):
                body = msgspec.json.encode({"model": name})
                reply = await self._http.post("/api/show", body)
                self._shown[identity] = _read_shown(reply)


def _read_shown(reply: Reply) -> _Shown:
    """Return the description; what is refused or unreadable once will be so again."""
    try:
        return _decode_shown(reply.body) if reply.status == 200 else _NOTHING_SHOWN
    except (ValueError, RecursionError):
        return _NOTHING_SHOWN


def _model(listed: _Listed, shown: _Shown, loaded: _Listed | None) -> EngineModel:
    details = listed.details or _Details()
    capabilities = shown.capabilities or listed.capabilities or ASSUMED
    renderer = _RENDERER.search(shown.modelfile or "")
    return EngineModel(
        name=listed.name,
        digest=listed.identity,
        context_length=_trained_context(shown) or details.context_length or None,
        capabilities=frozenset(capabilities),
        family=details.family or "",
        renderer=renderer[1] if renderer else "",
        note="" if loaded is None else _note(loaded),
    )


def _trained_context(shown: _Shown) -> int | None:
    info = shown.model_info or {}
    length = info.get(f"{info.get('general.architecture')}.context_length")
    return length if type(length) is int and length > 0 else None


def _in_memory(loaded: _Listed) -> LoadedModel:
    known = loaded.size and loaded.size_vram is not None
    return LoadedModel(
        name=loaded.name,
        context_tokens=loaded.context_length or None,
        gpu_share=(loaded.size_vram or 0) / (loaded.size or 1) if known else None,
    )


def _note(loaded: _Listed) -> str:
    """Say how a model is loaded: partly on the CPU means slow."""
    parts = ["loaded"]
    if loaded.context_length:
        parts.append(f"context {loaded.context_length}")
    if loaded.size and loaded.size_vram is not None:
        parts.append(f"{100 * loaded.size_vram // loaded.size} % on the GPU")
    return ", ".join(parts)
