"""GGUF files: read the tokenizer of one, write one with a vocabulary of our own and no sense.

Layout as the GGUF specification gives it (version 3, little-endian).
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS[12] = "d"
_UINT32, _FLOAT32, _BOOL, _STRING, _ARRAY, _INT32 = 4, 6, 7, 8, 9, 5
_ALIGNMENT = 32
_WIDTH = 32


def read_tokenizer(path: Path) -> dict[str, Any]:
    """Return the ``tokenizer.`` entries, which is what Ollama's verbose ``/api/show`` hands out."""
    with path.open("rb") as file:
        entries = struct.unpack("<4sIQQ", file.read(24))[3]
        metadata = dict(_read_entry(file) for _ in range(entries))
    return {key: value for key, value in metadata.items() if key.startswith("tokenizer.")}


def write_model(path: Path, tokenizer: dict[str, Any]) -> None:
    """Write a model of one layer of zeros: llama.cpp loads it and tokenizes with ``tokenizer``."""
    vocabulary = len(tokenizer["tokenizer.ggml.tokens"])
    metadata = {
        "general.architecture": "llama",
        "llama.context_length": 512,
        "llama.embedding_length": _WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": _WIDTH,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": vocabulary,
        "tokenizer.ggml.bos_token_id": vocabulary - 1,
        "tokenizer.ggml.eos_token_id": vocabulary - 1,
        **tokenizer,
    }
    layer = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    shapes = {
        "token_embd.weight": (_WIDTH, vocabulary),
        "output_norm.weight": (_WIDTH,),
        "blk.0.attn_norm.weight": (_WIDTH,),
        "blk.0.ffn_norm.weight": (_WIDTH,),
        **{f"blk.0.{name}.weight": (_WIDTH, _WIDTH) for name in layer},
    }
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(metadata))
    head += b"".join(map(_entry, metadata.items()))
    offset = 0
    for name, shape in shapes.items():
        head += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    path.write_bytes(head + bytes(-len(head) % _ALIGNMENT) + bytes(offset))


def _read_entry(file: BinaryIO) -> tuple[str, Any]:
    key = _read_string(file)
    return key, _read_value(file, struct.unpack("<I", file.read(4))[0])


def _read_value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _read_string(file)
    if kind == _ARRAY:
        item, length = struct.unpack("<IQ", file.read(12))
        return [_read_value(file, item) for _ in range(length)]
    form = struct.Struct("<" + _SCALARS[kind])
    return form.unpack(file.read(form.size))[0]


def _read_string(file: BinaryIO) -> str:
    return file.read(struct.unpack("<Q", file.read(8))[0]).decode()


def _entry(item: tuple[str, Any]) -> bytes:
    key, value = item
    kind, raw = _value(value)
    return _string(key) + struct.pack("<I", kind) + raw


def _value(value: Any) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return _UINT32, struct.pack("<I", value)
    if isinstance(value, float):
        return _FLOAT32, struct.pack("<f", value)
    if isinstance(value, str):
        return _STRING, _string(value)
    if isinstance(value[0], str):
        return _ARRAY, struct.pack("<IQ", _STRING, len(value)) + b"".join(map(_string, value))
    return _ARRAY, struct.pack(f"<IQ{len(value)}i", _INT32, len(value), *value)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw
