"""The GGUF header reader, on files written here byte by byte."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.backend.embedded.gguf import read_gguf, read_vocabulary
from llmctl.core.errors import ConfigError

UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def entry(key: str, kind: int, raw: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + raw


def array(kind: int, length: int, raw: bytes) -> bytes:
    return struct.pack("<IQ", kind, length) + raw


LLAMA = (
    entry("general.architecture", STRING, text("llama")),
    entry("tokenizer.ggml.tokens", ARRAY, array(STRING, 3, text("a") + text("bb") + text("ccc"))),
    entry("tokenizer.ggml.scores", ARRAY, array(FLOAT32, 3, struct.pack("<fff", 1, 2, 3))),
    entry("tokenizer.ggml.add_bos_token", BOOL, b"\x01"),
    entry("llama.context_length", UINT32, struct.pack("<I", 8192)),
    entry("llama.embedding_length", UINT32, struct.pack("<I", 576)),
    entry("llama.block_count", UINT32, struct.pack("<I", 30)),
    entry("llama.attention.head_count", UINT32, struct.pack("<I", 9)),
    entry("llama.attention.head_count_kv", UINT32, struct.pack("<I", 3)),
)


def gguf(*entries: bytes, version: int = 3, claimed: int | None = None) -> bytes:
    count = len(entries) if claimed is None else claimed
    return b"GGUF" + struct.pack("<IQQ", version, 0, count) + b"".join(entries)


def written(folder: Path, raw: bytes, name: str = "tiny-model.Q4_1.gguf") -> Path:
    path = folder / name
    path.write_bytes(raw)
    return path


def test_what_the_header_says(tmp_path: Path) -> None:
    path = written(tmp_path, gguf(*LLAMA) + b"tensors")

    model = read_gguf(path)

    assert model.name == "tiny-model.Q4_1"
    assert (model.architecture, model.context_length) == ("llama", 8192)
    assert model.size_bytes == path.stat().st_size
    # 2 bytes x (64 + 64) x 3 key-value heads x 30 layers: what SmolLM2-135M really takes
    assert model.kv_bytes_per_token == 23_040


def test_explicit_head_sizes_count(tmp_path: Path) -> None:
    sizes = (
        entry("llama.attention.key_length", UINT32, struct.pack("<I", 128)),
        entry("llama.attention.value_length", UINT32, struct.pack("<I", 96)),
    )

    model = read_gguf(written(tmp_path, gguf(*LLAMA, *sizes)))

    assert model.kv_bytes_per_token == 2 * (128 + 96) * 3 * 30


def test_heads_given_for_each_layer_are_added_up(tmp_path: Path) -> None:
    per_layer = entry(
        "llama.attention.head_count_kv", ARRAY, array(INT32, 4, struct.pack("<iiii", 0, 2, 0, 2))
    )

    model = read_gguf(written(tmp_path, gguf(*LLAMA[:-1], per_layer)))

    assert model.kv_bytes_per_token == 2 * (64 + 64) * 4


def test_a_header_without_sizes_gives_no_estimate(tmp_path: Path) -> None:
    model = read_gguf(written(tmp_path, gguf(LLAMA[0])))

    assert (model.context_length, model.kv_bytes_per_token) == (None, 0)


def test_the_digest_follows_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, gguf(*LLAMA) + b"weights")
    before = read_gguf(path).digest
    assert read_gguf(path).digest == before

    path.write_bytes(gguf(*LLAMA) + b"changed")

    assert read_gguf(path).digest != before


def test_the_vocabulary_with_its_lists(tmp_path: Path) -> None:
    odd = array(STRING, 2, text("Ġthe") + struct.pack("<Q", 2) + b"\xff\xfe")
    path = written(tmp_path, gguf(*LLAMA, entry("tokenizer.ggml.merges", ARRAY, odd)))

    assert read_vocabulary(path) == {
        "tokenizer.ggml.tokens": ["a", "bb", "ccc"],
        "tokenizer.ggml.scores": [1, 2, 3],
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.merges": ["Ġthe", "\ufffd\ufffd"],
    }


def test_a_vocabulary_that_is_cut_short(tmp_path: Path) -> None:
    whole = gguf(*LLAMA[:2])

    with pytest.raises(ConfigError, match="cut short or damaged"):
        read_vocabulary(written(tmp_path, whole[:-1]))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "it begins with b'' and not with b'GGUF'"),
        (b"PK\x03\x04 a zip", "it begins with b'PK"),
        (gguf(version=1), "its GGUF version is 1"),
        (gguf(claimed=10**12), "its header claims 1000000000000 entries"),
        (gguf(*LLAMA)[:-1], "cut short or damaged"),
        (gguf(entry("a", 99, b"")), "cut short or damaged"),
        (gguf(struct.pack("<Q", 2**63)), "cut short or damaged"),
        (gguf(entry("a", ARRAY, array(STRING, 2**60, b""))), "cut short or damaged"),
        (gguf(entry("a", ARRAY, array(STRING, 1, struct.pack("<Q", 2**64 - 1)))), "damaged"),
        (gguf(entry("a", ARRAY, array(ARRAY, 1, b"") * 5000)), "cut short or damaged"),
        (gguf(entry("a", UINT32, b"\0\0\0\0")), "its header names no architecture"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(tmp_path: Path, raw: bytes, why: str) -> None:
    path = written(tmp_path, raw)

    with pytest.raises(ConfigError) as refused:
        read_gguf(path)

    assert str(path) in refused.value.message
    assert why in refused.value.message
    assert refused.value.hint is not None
    assert "--gguf" in refused.value.hint


@pytest.mark.parametrize("name", [".", "missing.gguf"])
def test_a_path_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_gguf(tmp_path / name)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_damaged_header_never_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(gguf(*LLAMA))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(4, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = written(tmp_path_factory.getbasetemp(), bytes(raw), "damaged.gguf")

    try:
        model = read_gguf(path)
        read_vocabulary(path)
    except ConfigError as refused:
        assert str(path) in refused.message
    else:
        assert model.architecture
