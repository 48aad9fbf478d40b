"""How Ollama fails and what it refuses in a chat body, in the words of a real server (0.33)."""

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from tests.emulators.server import HttpError

_INTEGERS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "draft_num_predict")
_INTEGERS += ("num_keep", "seed", "num_predict", "top_k", "repeat_last_n")
_FLOATS = ("top_p", "min_p", "typical_p", "temperature", "repeat_penalty", "presence_penalty")
_FLOATS += ("frequency_penalty",)
OPTION_TYPES = {
    **dict.fromkeys(_INTEGERS, "integer"),
    **dict.fromkeys(_FLOATS, "float32"),
    "use_mmap": "boolean",
    "stop": "array",
}
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "integer": (int, float),
    "float32": (int, float),
    "boolean": bool,
    "array": list,
}
_GO_NAMES = {bool: "bool", str: "string", int: "number", float: "number", list: "array"}
_PARAMETERS = "ToolFunctionParameters.tools.function.parameters"


def overflow(prompt_tokens: int, num_ctx: int) -> HttpError:
    """The prompt is too long and ``truncate`` is false: llama-server's JSON inside a string."""
    message = (
        f"request ({prompt_tokens} tokens) exceeds the available context size ({num_ctx} tokens), "
        "try increasing it"
    )
    inner = {
        "error": {
            "code": 400,
            "message": message,
            "type": "exceed_context_size_error",
            "n_prompt_tokens": prompt_tokens,
            "n_ctx": num_ctx,
        }
    }
    return HttpError(400, {"error": json.dumps(inner, separators=(",", ":"))})


def missing(name: str) -> HttpError:
    return HttpError(404, {"error": f"model '{name}' not found"})


def busy() -> HttpError:
    text = "server busy, please try again.  maximum pending requests exceeded"
    return HttpError(503, {"error": text})


def out_of_memory() -> HttpError:
    text = "llama-server process has terminated: cudaMalloc failed: out of memory"
    return HttpError(500, {"error": text})


def xml_error() -> HttpError:
    text = "XML syntax error on line 5: element <parameter> closed by </function>"
    return HttpError(500, {"error": text})


def refuse_body(body: dict[str, Any]) -> HttpError | None:
    """Return what happens to a body that does not fit Ollama's structs: 400, before all else."""
    for tool in body.get("tools") or ():
        properties = (tool.get("function", {}).get("parameters") or {}).get("properties")
        for found, path in _not_objects(properties or {}, "properties"):
            go = f"cannot unmarshal {found} into Go struct field {_PARAMETERS}.{path}"
            return HttpError(400, {"error": f"json: {go} of type api.ToolProperty"})
    for message in body.get("messages") or ():
        for image in message.get("images") or ():
            try:
                base64.b64decode(image, validate=True)
            except binascii.Error:
                return HttpError(400, {"error": "illegal base64 data at input byte 0"})
    return None


def refuse_options(options: dict[str, Any]) -> HttpError | None:
    """Return what happens to options of a wrong type: 500. Unknown ones are ignored."""
    for name, value in options.items():
        wanted = OPTION_TYPES.get(name)
        if wanted is None or value is None:
            continue
        is_flag = isinstance(value, bool)
        if not isinstance(value, _PYTHON_TYPES[wanted]) or is_flag != (wanted == "boolean"):
            return HttpError(500, {"error": f'option "{name}" must be of type {wanted}'})
        if wanted == "array" and not all(isinstance(item, str) for item in value):
            return HttpError(500, {"error": f'option "{name}" must be of an array of strings'})
    return None


def refuse_format(wanted: Any) -> HttpError | None:
    """Return what happens to a ``format`` that is neither ``json`` nor a schema: 500."""
    if wanted in (None, "", "json") or isinstance(wanted, dict):
        return None
    expected = 'expected "json" or a valid JSON Schema object'
    shown = json.dumps(json.dumps(wanted, separators=(",", ":")))
    return HttpError(500, {"error": f"invalid format: {shown}; {expected}"})


def refuse_images(body: dict[str, Any], capabilities: tuple[str, ...]) -> HttpError | None:
    """Return what a text-only model's runner says to an image: its own JSON inside a string."""
    shown = any(message.get("images") for message in body.get("messages") or ())
    if not shown or "vision" in capabilities:
        return None
    said = "Multimodal data provided, but model does not support multimodal requests."
    inner = {"error": {"code": 400, "message": said, "type": "invalid_request_error"}}
    return HttpError(400, {"error": json.dumps(inner, separators=(",", ":"))})


def _not_objects(properties: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Yield the Go name of every schema that is not an object (null is one), and where it is."""
    for schema in properties.values():
        yield from _not_object(schema, path)


def _not_object(schema: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, dict):
        yield from _not_objects(schema.get("properties") or {}, f"{path}.properties")
        for choice in schema.get("anyOf") or ():
            yield from _not_object(choice, f"{path}.anyOf")
    elif schema is not None:
        yield _GO_NAMES[type(schema)], path
