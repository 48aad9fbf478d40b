"""A small byte-level BPE in the shape of Ollama's verbose ``/api/show``."""

from typing import Any


def byte_letters() -> list[str]:
    """Return GPT-2's printable letter for each byte 0–255, the alphabet of byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    rest = (byte for byte in range(256) if byte not in letters)
    letters.update({byte: chr(256 + index) for index, byte in enumerate(rest)})
    return [letters[byte] for byte in range(256)]


def synthetic_vocabulary() -> dict[str, Any]:
    """Return a small byte-level BPE as /api/show with ``verbose`` names it: bytes, pairs, words."""
    alphabet = byte_letters()
    words = ["the", "and", "Ġthe", "Ġand", "Ġof", "Ġto", "in", "er", "Hello", "Ġworld", "def"]
    merges: dict[tuple[str, str], None] = {}
    for word in words:
        for end in range(2, len(word) + 1):
            merges.setdefault((word[: end - 1], word[end - 1]))
    tokens = list(dict.fromkeys([*alphabet, *("".join(pair) for pair in merges)]))
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens + control,
        "tokenizer.ggml.token_type": [1] * len(tokens) + [3] * len(control),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
        "tokenizer.ggml.eos_token_id": len(tokens) + 2,
        "tokenizer.ggml.bos_token_id": len(tokens),
        "tokenizer.ggml.padding_token_id": len(tokens),
        "tokenizer.ggml.add_bos_token": False,
    }
