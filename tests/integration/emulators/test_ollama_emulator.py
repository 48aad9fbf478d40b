"""The Ollama emulator refuses what a real Ollama refuses, with its words."""

from typing import Any

import aiohttp
import pytest

from tests.emulators.ollama import Answer, Model, OllamaEmulator

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
MISFIT = "json: cannot unmarshal {} into Go struct field ToolFunctionParameters.tools.function.parameters.{} of type api.ToolProperty"


def tools(**properties: Any) -> list[dict[str, Any]]:
    parameters = {"type": "object", "properties": properties}
    return [{"type": "function", "function": {"name": "f", "parameters": parameters}}]


def image(data: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "hi", "images": [data]}]


async def ask(emu: OllamaEmulator, **fields: Any) -> tuple[int, str, Any]:
    body = {"model": "qwen3-coder:30b", "messages": [{"role": "user", "content": "hi"}]} | fields
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{emu.url}/api/chat", json=body) as reply,
    ):
        return reply.status, reply.content_type, await reply.json(content_type=None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"options": {"num_ctx": "512"}}, 500, 'option "num_ctx" must be of type integer'),
        ({"options": {"num_ctx": True}}, 500, 'option "num_ctx" must be of type integer'),
        ({"options": {"temperature": "x"}}, 500, 'option "temperature" must be of type float32'),
        ({"options": {"use_mmap": 1}}, 500, 'option "use_mmap" must be of type boolean'),
        ({"options": {"stop": "x"}}, 500, 'option "stop" must be of type array'),
        ({"options": {"stop": [1]}}, 500, 'option "stop" must be of an array of strings'),
        (
            {"format": "xml"},
            500,
            r'invalid format: "\"xml\""; expected "json" or a valid JSON Schema object',
        ),
        (
            {"format": [1]},
            500,
            'invalid format: "[1]"; expected "json" or a valid JSON Schema object',
        ),
        ({"tools": tools(x=True)}, 400, MISFIT.format("bool", "properties")),
        ({"tools": tools(x={"anyOf": ["a"]})}, 400, MISFIT.format("string", "properties.anyOf")),
        (
            {"tools": tools(x={"properties": {"y": 3}})},
            400,
            MISFIT.format("number", "properties.properties"),
        ),
        ({"messages": image("!!")}, 400, "illegal base64 data at input byte 0"),
        (
            {"messages": image(PIXEL)},
            400,
            '{"error":{"code":400,"message":"Multimodal data provided, but model does not support '
            'multimodal requests.","type":"invalid_request_error"}}',
        ),
        ({"model": "nope", "options": {"num_ctx": "x"}}, 404, "model 'nope' not found"),
        ({"messages": [], "options": {"seed": []}}, 500, 'option "seed" must be of type integer'),
    ],
)
async def test_refusals(fields, status, error, stream) -> None:
    async with OllamaEmulator() as emu:
        found = await ask(emu, stream=stream, **fields)
    assert found == (status, "application/json", {"error": error})


@pytest.mark.parametrize(
    "fields",
    [
        {"options": {"num_ctx": 512.0, "temperature": 1, "seed": None, "banana": "x"}},
        {"format": "json"},
        {"format": ""},
        {"format": {"type": "object"}},
        {"tools": tools(x=None, y={"items": True}, z={})},
    ],
)
async def test_what_is_taken(fields) -> None:
    async with OllamaEmulator(Answer("yes")) as emu:
        status, _, answer = await ask(emu, stream=False, **fields)
    assert (status, answer["message"]["content"]) == (200, "yes")


async def test_a_model_that_sees_takes_an_image() -> None:
    seeing = Model(capabilities=("completion", "vision"))
    async with OllamaEmulator(models=(seeing,)) as emu:
        status, _, _ = await ask(emu, stream=False, messages=image(PIXEL))
    assert status == 200


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("keep_alive", "reason"), [("30m", "load"), (0, "unload")])
async def test_no_messages_load_and_say_so_in_one_object(stream, keep_alive, reason) -> None:
    async with OllamaEmulator() as emu:
        fields = {"messages": [], "keep_alive": keep_alive, "options": {"num_ctx": 512}}
        status, kind, answer = await ask(emu, stream=stream, **fields)
        assert [load.options for load in emu.loads] == [{"num_ctx": 512}]
    assert (status, kind) == (200, "application/json")
    assert answer["message"] == {"role": "assistant", "content": ""}
    assert (answer["done"], answer["done_reason"]) == (True, reason)
