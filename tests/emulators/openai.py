"""OpenAI-compatible servers on loopback: llama.cpp's and vLLM's shapes, or only the plain API.

In a test::

    async with OpenAIEmulator(Answer("Hello"), flavour="llamacpp") as emu:
        ...  # emu.url, emu.requests, emu.chats, emu.closed, emu.open_connections
"""

import json
import time
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from tests.emulators.embedding import embedding
from tests.emulators.server import (
    Answer,
    Call,
    Calls,
    Delay,
    Emulator,
    ErrorLine,
    HttpError,
    Recorded,
    Reset,
    Script,
    Stall,
    Thinking,
    json_response,
    reset,
    stream,
    text_response,
)

__all__ = ["OpenAIEmulator", "OpenAIModel", "loading", "overflow", "unknown_model"]

Flavour = Literal["llamacpp", "vllm", "plain"]

TOOL_TEMPLATE = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}…{% endfor %}"
PLAIN_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}…{% endfor %}"


@dataclass(frozen=True)
class OpenAIModel:
    """What the server serves; ``context`` is per slot, as llama.cpp reports it."""

    name: str = "qwen3-coder-30b"
    context: int = 32768
    tools: bool = True
    vision: bool = False
    path: str = "/models/qwen3-coder-30b.gguf"
    parameters: int = 30_532_122_624


def loading() -> HttpError:
    """llama.cpp, while the model is read."""
    error = {"message": "Loading model", "type": "unavailable_error", "code": 503}
    return HttpError(503, {"error": error})


def overflow(prompt_tokens: int, n_ctx: int) -> HttpError:
    """llama.cpp's own shape."""
    error = {
        "code": 400,
        "message": f"request ({prompt_tokens} tokens) exceeds the available context size "
        f"({n_ctx} tokens), try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": prompt_tokens,
        "n_ctx": n_ctx,
    }
    return HttpError(400, {"error": error})


def unknown_model(name: str) -> HttpError:
    """vLLM's shape."""
    error = {
        "message": f"The model `{name}` does not exist.",
        "type": "NotFoundError",
        "param": "model",
        "code": 404,
    }
    return HttpError(404, {"error": error})


class OpenAIEmulator(Emulator):
    """One model behind ``/v1``. Token = four characters of the rendered prompt."""

    chat_paths = ("/v1/chat/completions",)

    def __init__(
        self,
        script: Script | None = None,
        *,
        flavour: Flavour = "llamacpp",
        models: tuple[OpenAIModel, ...] = (OpenAIModel(),),
        port: int = 0,
    ) -> None:
        super().__init__(script, port=port)
        self.flavour = flavour
        self.models = models
        self.started_at = int(time.time())

    async def __aenter__(self) -> "OpenAIEmulator":
        await super().__aenter__()
        return self

    async def respond(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        return await self._route(request, recorded)

    async def _route(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        path, llamacpp = recorded.path, self.flavour == "llamacpp"
        if path == "/v1/chat/completions" and recorded.method == "POST":
            return await self._chat(request, recorded)
        if path == "/v1/embeddings" and recorded.method == "POST":
            vector = {
                "object": "embedding",
                "index": 0,
                "embedding": embedding(recorded.body["input"]),
            }
            return json_response(
                {"object": "list", "data": [vector], "model": recorded.body["model"]}
            )
        if path == "/v1/models":
            return json_response(self._models())
        if path == "/health" and self.flavour != "plain":
            return json_response({"status": "ok"}) if llamacpp else text_response("")
        if path == "/props" and llamacpp:
            return json_response(self._props())
        if path == "/apply-template" and llamacpp:
            return json_response({"prompt": render(recorded.body)})
        if path == "/tokenize" and self.flavour != "plain":
            return json_response(self._tokenize(recorded.body))
        if llamacpp:
            error = {"message": "File Not Found", "type": "not_found_error", "code": 404}
            return json_response({"error": error}, 404)
        return json_response({"detail": "Not Found"}, 404)

    # ------------------------------------------------------------------------------- descriptions

    def _models(self) -> dict[str, Any]:
        entries = [self._entry(model) for model in self.models]
        listing: dict[str, Any] = {"object": "list", "data": entries}
        if self.flavour == "llamacpp":
            listing["models"] = [
                {
                    "name": model.name,
                    "model": model.name,
                    "capabilities": ["completion", *(["multimodal"] if model.vision else [])],
                    "digest": "",
                }
                for model in self.models
            ]
        return listing

    def _entry(self, model: OpenAIModel) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": model.name,
            "object": "model",
            "created": self.started_at,
            "owned_by": self.flavour,
        }
        if self.flavour == "llamacpp":
            entry["meta"] = {
                "vocab_type": 2,
                "n_vocab": 151936,
                "n_ctx": model.context,
                "n_ctx_train": 262144,
                "n_embd": 2048,
                "n_params": model.parameters,
                "size": 18_556_699_314,
                "ftype": "Q4_K_M",
            }
        if self.flavour == "vllm":
            entry |= {"root": model.path, "parent": None, "max_model_len": model.context}
            entry["permission"] = [{"id": f"modelperm-{self.started_at}", "created": 1}]
        return entry

    def _props(self) -> dict[str, Any]:
        model = self.models[0]
        return {
            "default_generation_settings": {"n_ctx": model.context, "params": {}},
            "total_slots": 2,
            "model_alias": model.name,
            "model_path": model.path,
            "modalities": {"vision": model.vision, "audio": False},
            "media_marker": f"<__media_{id(self)}__>",
            "chat_template": TOOL_TEMPLATE if model.tools else PLAIN_TEMPLATE,
            "chat_template_caps": {
                "supports_tools": model.tools,
                "supports_tool_calls": model.tools,
                "supports_system_role": True,
            },
            "build_info": "b10488-abcdef",
            "is_sleeping": False,
        }

    def _tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.flavour == "llamacpp":
            return {"tokens": tokens(body["content"])}
        ids = tokens(render(body))
        return {"count": len(ids), "max_model_len": self.models[0].context, "tokens": ids}

    # --------------------------------------------------------------------------------------- chat

    async def _chat(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        try:
            body = recorded.body or {}
        except ValueError as error:
            problem = {"code": 400, "message": str(error), "type": "invalid_request_error"}
            return json_response({"error": problem}, 400)
        refusal = self._refuse(body)
        scripted = self.next_scripted(recorded) if refusal is None else refusal
        if isinstance(scripted, Reset):
            reset(request)
            return web.Response()
        if isinstance(scripted, HttpError):
            return json_response(scripted.body, scripted.status)
        if body.get("stream"):
            return await self._stream(request, body, scripted)
        return json_response(self._whole(body, scripted))

    def _refuse(self, body: dict[str, Any]) -> HttpError | None:
        names = {model.name for model in self.models}
        # llama.cpp answers for any name.
        if self.flavour != "llamacpp" and body.get("model") not in names:
            return unknown_model(str(body.get("model")))
        count, context = len(tokens(render(body))), self.models[0].context
        return overflow(count, context) if count > context else None

    async def _stream(
        self, request: web.BaseRequest, body: dict[str, Any], answer: Answer
    ) -> web.StreamResponse:
        name, calls = body.get("model", self.models[0].name), _Counter()

        def show(piece: Any) -> bytes:
            if isinstance(piece, ErrorLine):
                error = {"code": 500, "message": piece.message, "type": "server_error"}
                return _event({"error": error})
            return b"".join(_event(_chunk(name, delta)) for delta in _deltas(piece, calls))

        called = any(isinstance(piece, Call | Calls) for piece in answer.pieces)
        reason = "tool_calls" if called and answer.done_reason == "stop" else answer.done_reason
        last = _event(_chunk(name, {}, reason))
        if (body.get("stream_options") or {}).get("include_usage"):
            last += _event(self._usage_chunk(name, body, answer))
        whole = last + b"data: [DONE]\n\n"
        response = await stream(request, answer.pieces, show, whole, "text/event-stream")
        if self.flavour == "llamacpp":
            # As the real one does, without having said so in a header.
            request.protocol.force_close()
        return response

    def _usage_chunk(self, name: str, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        chunk = _chunk(name, {}) | {"choices": [], "usage": self._usage(body, answer)}
        if self.flavour == "llamacpp":
            cached, prompt = answer.cached_tokens, chunk["usage"]["prompt_tokens"]
            chunk["timings"] = {
                "cache_n": cached,
                "prompt_n": prompt - cached,
                "prompt_ms": answer.prompt_ms,
                "predicted_n": chunk["usage"]["completion_tokens"],
                "predicted_ms": 100.0,
            }
        return chunk

    def _usage(self, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        counted = len(tokens(render(body)))
        prompt = counted if answer.prompt_tokens is None else answer.prompt_tokens
        said = sum(isinstance(piece, str | Thinking | Call) for piece in answer.pieces)
        completion = said if answer.completion_tokens is None else answer.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        }

    def _whole(self, body: dict[str, Any], answer: Answer) -> dict[str, Any]:
        text = "".join(piece for piece in answer.pieces if isinstance(piece, str))
        message: dict[str, Any] = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": answer.done_reason}
        name = body.get("model", self.models[0].name)
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "model": name}
        return whole | {"choices": [choice], "usage": self._usage(body, answer)}


class _Counter:
    """Index of the next tool call in one answer."""

    def __init__(self) -> None:
        self._next = 0

    def take(self) -> int:
        self._next += 1
        return self._next - 1


def render(body: dict[str, Any]) -> str:
    """Return the prompt of a chat body, ChatML with the tools in front."""
    tools = json.dumps(body["tools"]) if body.get("tools") else ""
    turns = [
        f"<|im_start|>{turn.get('role')}\n{json.dumps(turn.get('content'))}<|im_end|>\n"
        for turn in body.get("messages", [])
    ]
    return tools + "".join(turns) + "<|im_start|>assistant\n"


def tokens(text: str) -> list[int]:
    return [ord(text[at]) for at in range(0, len(text), 4)]


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def _chunk(name: str, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {
        "choices": [{"finish_reason": reason, "index": 0, "delta": delta}],
        "created": 1795381826,
        "id": "chatcmpl-eFW75aUwIhDhHMIuINZHwEUStlvMIz5n",
        "model": name,
        "system_fingerprint": "b10488-abcdef",
        "object": "chat.completion.chunk",
    }


def _deltas(piece: Any, calls: _Counter) -> list[dict[str, Any]]:
    if isinstance(piece, str):
        return [{"content": piece}]
    if isinstance(piece, Thinking):
        return [{"reasoning_content": piece.text}]
    found = piece.calls if isinstance(piece, Calls) else (piece,)
    return [delta for call in found for delta in _call_deltas(call, calls.take())]


def _call_deltas(call: Call, index: int) -> list[dict[str, Any]]:
    """Name first, then the arguments as JSON text in two pieces."""
    arguments = json.dumps(call.arguments)
    middle = len(arguments) // 2
    head = {"index": index, "id": call.id or f"call{index}", "type": "function"}
    named = head | {"function": {"name": call.name, "arguments": ""}}
    parts = [
        {"index": index, "function": {"arguments": part}}
        for part in (arguments[:middle], arguments[middle:])
    ]
    return [{"tool_calls": [part]} for part in [named, *parts]]
