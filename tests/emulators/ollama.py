"""Ollama as measured: native API on loopback, scripted answers, faults, and a record of it all.

In a test::

    async with OllamaEmulator(Answer("Hello", Call("Read", {"file_path": "/a"}))) as emu:
        ...  # emu.url, emu.requests, emu.chats, emu.closed, emu.open_connections, emu.loads

For a benchmark, in a process of its own::

    python -m tests.emulators.ollama --port 11434 --tokens 500 --rate 50
"""

import asyncio
import json
import secrets
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.emulators.embedding import embedding
from tests.emulators.ollama_refusals import (
    busy,
    missing,
    out_of_memory,
    overflow,
    refuse_body,
    refuse_format,
    refuse_images,
    refuse_options,
    xml_error,
)
from tests.emulators.server import (
    Answer,
    Call,
    Calls,
    Cut,
    Delay,
    Emulator,
    Eof,
    ErrorLine,
    Hold,
    HttpError,
    Raw,
    Recorded,
    Reset,
    Script,
    Stall,
    Thinking,
    foreign_origin,
    json_response,
    local_host,
    reset,
    stream,
    text_response,
)
from tests.emulators.vocabulary import synthetic_vocabulary

__all__ = [
    "Answer",
    "Call",
    "Calls",
    "Cut",
    "Delay",
    "Eof",
    "ErrorLine",
    "Hold",
    "HttpError",
    "Model",
    "OllamaEmulator",
    "Raw",
    "Recorded",
    "Reset",
    "Stall",
    "Thinking",
    "busy",
    "missing",
    "out_of_memory",
    "overflow",
    "xml_error",
]

LOAD_TIME_OPTIONS = (
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "use_mmap",
    "num_thread",
    "draft_num_predict",
)
DEFAULT_NUM_CTX = 65536
CREATED_AT = "2026-11-22T19:06:18.364213872Z"


@dataclass(frozen=True)
class Model:
    """One pulled model."""

    name: str = "qwen3-coder:30b"
    capabilities: tuple[str, ...] = ("completion", "tools")
    context_length: int = 262144
    family: str = "qwen3moe"
    digest: str = "06c1097efce0431c2045fe7b2e5108366e43bee1b4603a7aded8f21689e90bca"
    size: int = 18_556_699_314
    renderer: str = "qwen3-coder"


def estimate(body: dict[str, Any]) -> int:
    """Count the prompt of a chat body: four characters to a token."""
    return len(json.dumps([body.get("messages"), body.get("tools")])) // 4


# --------------------------------------------------------------------------------------- the server


@dataclass(frozen=True)
class Load:
    """One (re)load of a model: how a change of load-time options shows."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)


class OllamaEmulator(Emulator):
    """Ollama 0.33 on loopback. ``vocabulary`` is merged into the verbose ``model_info``."""

    chat_paths = ("/api/chat",)

    def __init__(
        self,
        script: Script | None = None,
        *,
        models: tuple[Model, ...] = (Model(),),
        vocabulary: dict[str, Any] | None = None,
        count: Callable[[dict[str, Any]], int] = estimate,
        port: int = 0,
    ) -> None:
        super().__init__(script, port=port)
        self.models = models
        self.vocabulary = synthetic_vocabulary() if vocabulary is None else vocabulary
        self.count = count
        self.max_loaded = 3
        """How many of the models loaded last stay in memory: OLLAMA_MAX_LOADED_MODELS."""
        self.loads: list[Load] = []

    async def __aenter__(self) -> "OllamaEmulator":
        await super().__aenter__()
        return self

    async def respond(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        if not local_host(recorded.headers.get("Host", "")) or foreign_origin(recorded):
            return web.Response(status=403)
        return await self._route(request, recorded)

    async def _route(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        routes: dict[str, tuple[set[str], Any]] = {
            "/": ({"GET", "HEAD"}, lambda: text_response("Ollama is running")),
            "/api/version": ({"GET", "HEAD"}, lambda: json_response({"version": "0.33.0"})),
            "/api/tags": ({"GET", "HEAD"}, lambda: json_response(self._tags())),
            "/api/ps": ({"GET"}, lambda: json_response(self._ps())),
            "/api/show": ({"POST"}, lambda: self._show(recorded)),
            "/api/embed": ({"POST"}, lambda: self._embed(recorded.body)),
            "/api/chat": ({"POST"}, None),
        }
        if recorded.path not in routes:
            return text_response("404 page not found", 404)
        methods, answer = routes[recorded.path]
        if recorded.method not in methods:
            return text_response("405 method not allowed", 405)
        return await self._chat(request, recorded) if answer is None else answer()

    # ------------------------------------------------------------------------------- descriptions

    def _tags(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "name": model.name,
                    "model": model.name,
                    "modified_at": CREATED_AT,
                    "size": model.size,
                    "digest": model.digest,
                    "details": _details(model),
                    "capabilities": list(model.capabilities),
                }
                for model in self.models
            ]
        }

    def _ps(self) -> dict[str, Any]:
        latest = list(dict.fromkeys(load.model for load in reversed(self.loads)))
        loaded = {
            load.model: load for load in self.loads if load.model in latest[: self.max_loaded]
        }
        return {
            "models": [
                {
                    "name": model.name,
                    "model": model.name,
                    "size": model.size,
                    "digest": model.digest,
                    "details": _details(model),
                    "expires_at": "2026-11-22T19:36:18Z",
                    "size_vram": model.size,
                    "context_length": loaded[model.name].options.get("num_ctx", DEFAULT_NUM_CTX),
                }
                for model in self.models
                if model.name in loaded
            ]
        }

    def _show(self, recorded: Recorded) -> web.Response:
        asked = str(recorded.body.get("model", ""))
        model = self._find(asked)
        if model is None:
            return json_response({"error": f"model '{_tagged(asked)}' not found"}, 404)
        info: dict[str, Any] = {
            "general.architecture": model.family,
            f"{model.family}.context_length": model.context_length,
            "tokenizer.ggml.model": self.vocabulary.get("tokenizer.ggml.model"),
            "tokenizer.ggml.pre": self.vocabulary.get("tokenizer.ggml.pre"),
            "tokenizer.ggml.tokens": None,
            "tokenizer.ggml.token_type": None,
            "tokenizer.ggml.merges": None,
        }
        if recorded.body.get("verbose"):
            info |= self.vocabulary
        shown = {
            "license": "Apache-2.0",
            "modelfile": _modelfile(model),
            "parameters": 'stop                           "<|im_end|>"',
            "template": "{{ .Prompt }}",
            "details": _details(model),
            "model_info": info,
            "capabilities": list(model.capabilities),
            "modified_at": CREATED_AT,
        }
        return json_response(shown)

    def _embed(self, body: dict[str, Any]) -> web.Response:
        model = self._find(str(body.get("model", "")))
        if model is None:
            return json_response(missing(str(body.get("model"))).body, 404)
        if "embedding" not in model.capabilities:
            said = "This server does not support embeddings. Start it with `--embeddings`"
            return json_response({"error": said}, 501)
        self._load(body)
        asked = body.get("input")
        texts = [asked] if isinstance(asked, str) else asked
        vectors = [embedding(text) for text in texts]
        answer = {
            "model": body["model"],
            "embeddings": vectors,
            "total_duration": 1,
            "load_duration": 1,
        }
        return json_response(answer | {"prompt_eval_count": 3})

    def _find(self, asked: str) -> Model | None:
        name = _tagged(asked).lower()
        return next((model for model in self.models if model.name.lower() == name), None)

    # --------------------------------------------------------------------------------------- chat

    async def _chat(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        try:
            body = recorded.body
        except ValueError as error:
            return json_response({"error": str(error)}, 400)
        if body is None:
            return json_response({"error": "missing request body"}, 400)
        refusal = self._refuse(body)
        if refusal is not None:
            return json_response(refusal.body, refusal.status)
        self._load(body)
        if not body.get("messages"):
            return json_response(self._only_loaded(body))
        refusal = self._refuse_prompt(body)
        if refusal is not None:
            return json_response(refusal.body, refusal.status)
        scripted = self.next_scripted(recorded)
        if isinstance(scripted, Reset):
            reset(request)
            return web.Response()
        if isinstance(scripted, HttpError):
            return json_response(scripted.body, scripted.status)
        if body.get("stream", True):
            return await self._stream(request, body, scripted)
        return await self._whole(body, scripted)

    def _refuse(self, body: dict[str, Any]) -> HttpError | None:
        if (misfit := refuse_body(body)) is not None:
            return misfit
        asked = body.get("model") or ""
        if not asked:
            return HttpError(400, {"error": "model is required"})
        model = self._find(asked)
        if model is None:
            return missing(asked)
        full = f"registry.ollama.ai/library/{_tagged(asked)}"
        if "completion" not in model.capabilities:
            return HttpError(400, {"error": f'"{asked}" does not support chat'})
        if body.get("tools") and "tools" not in model.capabilities:
            return HttpError(400, {"error": f"{full} does not support tools"})
        if body.get("think") and "thinking" not in model.capabilities:
            return HttpError(400, {"error": f'"{asked}" does not support thinking'})
        return refuse_options(body.get("options") or {})

    def _refuse_prompt(self, body: dict[str, Any]) -> HttpError | None:
        """Return what only shows with the model loaded."""
        model = self._find(body["model"])
        assert model is not None
        refusal = refuse_format(body.get("format")) or refuse_images(body, model.capabilities)
        tokens, num_ctx = self.count(body), self._num_ctx(body, model)
        if refusal is None and tokens > num_ctx and body.get("truncate") is False:
            return overflow(tokens, num_ctx)
        return refusal

    def _only_loaded(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a body without messages, streamed or not: one object."""
        reason = "unload" if body.get("keep_alive") == 0 else "load"
        message = {"role": "assistant", "content": ""}
        done = {"message": message, "done": True, "done_reason": reason}
        return {"model": body["model"], "created_at": CREATED_AT, **done}

    def _num_ctx(self, body: dict[str, Any], model: Model) -> int:
        options = body.get("options") or {}
        return min(options.get("num_ctx") or DEFAULT_NUM_CTX, model.context_length)

    def _load(self, body: dict[str, Any]) -> None:
        model = self._find(body["model"])
        options = body.get("options") or {}
        load = Load(
            model.name if model else "",
            {name: options[name] for name in LOAD_TIME_OPTIONS if name in options},
        )
        if not self.loads or self.loads[-1] != load:
            self.loads.append(load)

    async def _stream(
        self, request: web.BaseRequest, body: dict[str, Any], answer: Answer
    ) -> web.StreamResponse:
        name = body["model"]

        def render(piece: Any) -> bytes:
            if isinstance(piece, ErrorLine):
                return json.dumps({"error": piece.message}).encode() + b"\n"
            return line(name, _message(piece))

        last = line(name, self._last_message(answer), self.metrics(body, answer))
        return await stream(request, answer.pieces, render, last, "application/x-ndjson")

    async def _whole(self, body: dict[str, Any], answer: Answer) -> web.Response:
        message: dict[str, Any] = {"role": "assistant", "content": ""}
        for piece in answer.pieces:
            if isinstance(piece, Delay):
                await asyncio.sleep(piece.seconds)
            elif isinstance(piece, ErrorLine):
                return json_response({"error": piece.message}, 500)
            elif isinstance(piece, str | Thinking | Call | Calls):
                _merge(message, _message(piece))
        _merge(message, self._last_message(answer))
        whole = {"model": body["model"], "created_at": CREATED_AT, "message": message}
        return json_response(whole | self.metrics(body, answer))

    def _last_message(self, answer: Answer) -> dict[str, Any]:
        empty = {"role": "assistant", "content": ""}
        return _message(Calls(answer.done_calls)) if answer.done_calls else empty

    def metrics(self, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        prompt = self.count(body) if answer.prompt_tokens is None else answer.prompt_tokens
        said = sum(isinstance(piece, str | Thinking | Call) for piece in answer.pieces)
        completion = said if answer.completion_tokens is None else answer.completion_tokens
        metrics = {
            "total_duration": 2_216_398_129,
            "load_duration": 43_102_798,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": int(answer.prompt_ms * 1e6),
            "eval_count": completion,
            "eval_duration": 187_837_000,
        }
        # Ollama leaves out what is zero.
        shown = {name: value for name, value in metrics.items() if value}
        return {"done": True, "done_reason": answer.done_reason, **shown}


def _details(model: Model) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": "30.5B",
        "quantization_level": "Q4_K_M",
        "context_length": model.context_length,
        "embedding_length": 2048,
    }


def _modelfile(model: Model) -> str:
    lines = ['# Modelfile generated by "ollama show"', f"FROM /blobs/sha256-{model.digest}"]
    if model.renderer:
        lines += [
            "TEMPLATE {{ .Prompt }}",
            f"RENDERER {model.renderer}",
            f"PARSER {model.renderer}",
        ]
    return "\n".join([*lines, "PARAMETER top_p 0.8", ""])


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _call_id() -> str:
    alphabet = string.ascii_lowercase + string.digits
    return "call_" + "".join(secrets.choice(alphabet) for _ in range(8))


def _message(piece: Any) -> dict[str, Any]:
    if isinstance(piece, str):
        return {"role": "assistant", "content": piece}
    if isinstance(piece, Thinking):
        return {"role": "assistant", "content": "", "thinking": piece.text}
    calls = piece.calls if isinstance(piece, Calls) else (piece,)
    rendered = [
        {
            "id": call.id or _call_id(),
            "function": {"index": index, "name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(calls)
    ]
    return {"role": "assistant", "content": "", "tool_calls": rendered}


def _merge(message: dict[str, Any], more: dict[str, Any]) -> None:
    message["content"] += more["content"]
    if "thinking" in more:
        message["thinking"] = message.get("thinking", "") + more["thinking"]
    if "tool_calls" in more:
        message["tool_calls"] = message.get("tool_calls", []) + more["tool_calls"]


def line(model: str, message: dict[str, Any], done: dict[str, Any] | None = None) -> bytes:
    value = {"model": model, "created_at": CREATED_AT, "message": message}
    value |= done or {"done": False}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    from tests.emulators.source import main

    main()
