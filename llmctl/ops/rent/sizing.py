"""What fits on a card: model, context, KV cache, slots and disk, each with its reason. Pure.

Sizes are measured or computed from the models' published shapes; keys and values of the cache take
``2 x layers x KV heads x head size`` elements a token.
"""

import math
from itertools import product

from msgspec import Struct
from msgspec.structs import replace

from llmctl.core.errors import ConfigError
from llmctl.core.rental import Fit, UpSpec

DEFAULT_MODEL = "qwen3-coder"
GIB = 1024**3
_RESERVED_GIB = 1.5
"""Of each card: what the driver holds, and the margin llama.cpp leaves when it places layers."""
_COMPUTE_GIB = 1.2
"""Buffers of a batch, CUDA."""
_LADDER = (262144, 200000, 131072, 98304, 65536, 49152, 32768, 16384, 8192)
_BYTES_PER_ELEMENT = {"f16": 2.0, "q8_0": 1.0625, "q4_0": 0.5625}
_SHARED_FROM_GIB = 47
"""With this much memory two requests are answered at once."""
_USUAL_CONTEXT = 32768
"""Where nothing is known: small enough for most models, and enough for Claude Code to begin."""
_CLAUDE_CODE_TOKENS = 24_576
"""Claude Code's own prompt and tools, and room for a first answer."""
_ROOM_GB = 25
"""Of a rented disk, for image, engine and what the image leaves little of."""
_MODEL_ROOM = 1.2


class ModelShape(Struct, frozen=True, kw_only=True):
    """What has to be known of a model before it is pulled."""

    file_bytes: int
    kv_elements: int
    """Of the cache, for one token."""
    context: int


class Need(Struct, frozen=True, kw_only=True):
    """What an engine is asked to hold."""

    num_ctx: int
    kv_cache_type: str
    parallel: int


_QWEN3_CODER = 2 * 48 * 4 * 128
SHAPES = {
    "qwen3-coder": ModelShape(file_bytes=18_600_000_000, kv_elements=_QWEN3_CODER, context=262144),
    "qwen3-coder:30b-a3b-q8_0": ModelShape(
        file_bytes=32_500_000_000, kv_elements=_QWEN3_CODER, context=262144
    ),
    "qwen3-coder:30b-a3b-fp16": ModelShape(
        file_bytes=61_100_000_000, kv_elements=_QWEN3_CODER, context=262144
    ),
    "qwen2.5-coder:7b": ModelShape(
        file_bytes=4_700_000_000, kv_elements=2 * 28 * 4 * 128, context=32768
    ),
}
_SAME = {
    "qwen3-coder:latest": "qwen3-coder",
    "qwen3-coder:30b": "qwen3-coder",
    "qwen3-coder:30b-a3b-q4_K_M": "qwen3-coder",
    "qwen2.5-coder:latest": "qwen2.5-coder:7b",
    "qwen2.5-coder": "qwen2.5-coder:7b",
}


def shape_of(model: str) -> ModelShape | None:
    """Return what is known of a model; None for those llmctl has no figures of."""
    return SHAPES.get(_SAME.get(model, model))


def fit(spec: UpSpec, memory_mib: int | None, *, ram_mib: int | None = None) -> Fit:
    """Choose for GPU memory of ``memory_mib`` in all; None for a machine without a GPU.

    What ``spec`` names is taken as it is. Raises ``ConfigError`` with the figures when memory
    cannot hold that, or a rented disk cannot be sized.
    """
    if memory_mib is None:
        return _on_cpu(spec, ram_mib)
    usable = _usable_gib(spec, memory_mib)
    model = spec.model or _model_for(spec, usable)
    shape = shape_of(model)
    if shape is None:
        return _unknown(spec, model)
    spec, clipped = _within_training(spec, model, shape)
    need = _need(spec, shape, usable)
    if need is None:
        raise _too_large(spec, model, shape, usable)
    return Fit(
        model=model,
        model_bytes=shape.file_bytes,
        num_ctx=need.num_ctx,
        kv_cache_type=need.kv_cache_type,
        parallel=need.parallel,
        disk_gb=_disk(spec, shape.file_bytes),
        reasons=(*clipped, *_reasons(spec, model, shape, need, usable)),
    )


def smaller(spec: UpSpec, current: Fit) -> Fit | None:
    """Return the next shorter context, for a card that holds less than was reckoned.

    None where the context was asked for, or is already too short for Claude Code's own prompt.
    """
    if spec.num_ctx is not None:
        return None
    shorter = [length for length in _LADDER if _CLAUDE_CODE_TOKENS <= length < current.num_ctx]
    return replace(current, num_ctx=shorter[0]) if shorter else None


def disk_for(model_bytes: int) -> int:
    """Return gigabytes for a model, the engine, and what an image leaves little room for."""
    return math.ceil(model_bytes * _MODEL_ROOM / 1e9) + _ROOM_GB


def needed_gib(shape: ModelShape, need: Need) -> float:
    """Return the GPU memory that weights, cache and buffers take."""
    element = _BYTES_PER_ELEMENT[need.kv_cache_type]
    cache = shape.kv_elements * element * need.num_ctx * need.parallel
    return (shape.file_bytes + cache) / GIB + _COMPUTE_GIB


def _usable_gib(spec: UpSpec, memory_mib: int) -> float:
    return memory_mib / 1024 - _RESERVED_GIB * spec.gpu_count


def _model_for(spec: UpSpec, usable: float) -> str:
    least = Need(num_ctx=_USUAL_CONTEXT, kv_cache_type="q8_0", parallel=1)
    return DEFAULT_MODEL if needed_gib(SHAPES[DEFAULT_MODEL], least) <= usable else spec.fallback


def _within_training(spec: UpSpec, model: str, shape: ModelShape) -> tuple[UpSpec, tuple[str, ...]]:
    """Cut a context down to what the model was trained for, as the engine would."""
    if spec.num_ctx is None or spec.num_ctx <= shape.context:
        return spec, ()
    reason = f"{model} was trained for {shape.context:,} tokens, so {spec.num_ctx:,} are not used"
    return replace(spec, num_ctx=shape.context), (reason,)


def _need(spec: UpSpec, shape: ModelShape, usable: float) -> Need | None:
    """Return the longest context that fits, with the most exact cache that holds it.

    A coarse cache is taken only where nothing else fits.
    """
    slots = (spec.parallel,) if spec.parallel else ((2, 1) if usable >= _SHARED_FROM_GIB else (1,))
    lengths = (spec.num_ctx,) if spec.num_ctx else tuple(c for c in _LADDER if c <= shape.context)
    kinds = [(spec.kv_cache_type,)] if spec.kv_cache_type else [("f16", "q8_0"), ("q4_0",)]
    for parallel, choice in product(slots, kinds):
        for num_ctx, kind in product(lengths, choice):
            need = Need(num_ctx=num_ctx, kv_cache_type=kind, parallel=parallel)
            if needed_gib(shape, need) <= usable:
                return need
    return None


def _disk(spec: UpSpec, model_bytes: int) -> int:
    if spec.disk_gb is not None:
        return spec.disk_gb
    return _ROOM_GB if spec.volume else disk_for(model_bytes)


def _on_cpu(spec: UpSpec, ram_mib: int | None) -> Fit:
    model = spec.model or spec.fallback
    shape = shape_of(model)
    size = shape.file_bytes if shape else 0
    if ram_mib is not None and size / GIB > ram_mib / 1024:
        raise ConfigError(
            f"{model} takes {size / GIB:.1f} GiB of memory, and the machine has no GPU and "
            f"{ram_mib / 1024:.1f} GiB in all",
            hint="choose a smaller --model, or rent a GPU: llmctl up --provider runpod",
        )
    return Fit(
        model=model,
        model_bytes=size,
        num_ctx=spec.num_ctx or min(_USUAL_CONTEXT, shape.context if shape else _USUAL_CONTEXT),
        kv_cache_type=spec.kv_cache_type or "f16",
        parallel=spec.parallel or 1,
        disk_gb=_disk(spec, size),
        reasons=("no GPU was found: answers will be slow",),
    )


def _unknown(spec: UpSpec, model: str) -> Fit:
    if spec.disk_gb is None and not spec.volume and any(each.paid for each in spec.providers):
        raise ConfigError(
            f"the size of {model} is not known, and a rented disk cannot grow",
            hint=f"llmctl up --model {model} --disk GB",
        )
    return Fit(
        model=model,
        model_bytes=0,
        num_ctx=spec.num_ctx or _USUAL_CONTEXT,
        kv_cache_type=spec.kv_cache_type or "q8_0",
        parallel=spec.parallel or 1,
        disk_gb=_disk(spec, 0),
        reasons=(f"the size of {model} is not known: whether the GPU holds it shows once it runs",),
    )


def _too_large(spec: UpSpec, model: str, shape: ModelShape, usable: float) -> ConfigError:
    asked = Need(
        num_ctx=spec.num_ctx or _LADDER[-1],
        kv_cache_type=spec.kv_cache_type or "q4_0",
        parallel=spec.parallel or 1,
    )
    free = replace(spec, num_ctx=None, kv_cache_type=None, parallel=None)
    best = _need(free, shape, usable)
    slots = f" for each of {asked.parallel} requests" if asked.parallel > 1 else ""
    return ConfigError(
        f"{model} with {asked.num_ctx:,} tokens of context{slots} and a {asked.kv_cache_type} "
        f"cache needs {needed_gib(shape, asked):.1f} GiB of GPU memory; {usable:.1f} GiB are free",
        hint=f"--num-ctx {best.num_ctx} --kv-cache-type {best.kv_cache_type} fits"
        if best
        else "take a larger card (--gpu h100) or another --model",
    )


def _reasons(
    spec: UpSpec, model: str, shape: ModelShape, need: Need, usable: float
) -> tuple[str, ...]:
    lines = [f"{needed_gib(shape, need):.1f} of {usable:.1f} GiB of usable GPU memory are needed"]
    if spec.model is None and model != DEFAULT_MODEL:
        lines.insert(0, f"{DEFAULT_MODEL} does not fit, so it is {model}")
    if spec.num_ctx is None:
        cache = f"with a {need.kv_cache_type} KV cache" if spec.kv_cache_type is None else "so"
        lines.append(f"{need.num_ctx:,} tokens is the longest context that fits {cache}")
    if spec.parallel is None and need.parallel > 1:
        lines.append(f"there is room for {need.parallel} requests at once")
    if need.num_ctx < _CLAUDE_CODE_TOKENS:
        lines.append("Claude Code needs about 24,000 tokens: use `llmctl claude --bare`")
    if spec.disk_gb is None and not spec.volume:
        size = shape.file_bytes / 1e9
        lines.append(f"disk: {size:.1f} GB of model, a fifth more, and {_ROOM_GB} GB for the rest")
    return tuple(lines)
