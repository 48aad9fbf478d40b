"""The header of a GGUF file: what refuses a wrong file, sizes the context and counts tokens.

Layout as the GGUF specification gives it (versions 2 and 3, little-endian).
"""

import os
import struct
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from llmctl.core.errors import ConfigError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_MOST_ENTRIES = 100_000
_LONGEST_STRING = 64 * 1024 * 1024
_FINGERPRINTED = 1024 * 1024
_VOCABULARY = "tokenizer.ggml."


class Gguf(Struct, frozen=True, kw_only=True):
    """What the header of one model file says."""

    path: Path
    size_bytes: int
    architecture: str
    context_length: int | None
    """Tokens the model was trained on; None where the file does not say."""
    kv_bytes_per_token: int
    """Memory one token of context takes, keys and values in 16 bit; 0 where it cannot be told."""
    digest: str
    """Changes when the file does: size, time of change and first MiB."""

    @property
    def name(self) -> str:
        """The model name clients see."""
        return self.path.stem


def read_gguf(path: Path) -> Gguf:
    """Read the header of ``path``; raises ``ConfigError`` for anything but a GGUF model."""
    try:
        with path.open("rb") as file:
            metadata = _metadata(file, path)
            digest = _fingerprint(file)
            size = path.stat().st_size
    except OSError as exc:
        raise ConfigError(
            f"the model {path} cannot be read: {exc.strerror or exc}",
            hint="give the path of a GGUF file, or leave --gguf out for the small model",
        ) from exc
    except (struct.error, ValueError, OverflowError, RecursionError) as exc:
        raise _broken(path, "its header is cut short or damaged") from exc
    architecture = str(metadata.get("general.architecture", ""))
    if not architecture:
        raise _broken(path, "its header names no architecture")
    return Gguf(
        path=path,
        size_bytes=size,
        architecture=architecture,
        context_length=_integer(metadata, f"{architecture}.context_length"),
        kv_bytes_per_token=_kv_bytes(metadata, architecture),
        digest=digest,
    )


def read_vocabulary(path: Path) -> dict[str, Any]:
    """Return the ``tokenizer.ggml.`` entries of ``path``, lists and all, as Ollama hands them out.

    Takes 0.12 s for 150,000 tokens: to be run in a thread. Raises ``ConfigError`` where the file
    cannot be read (any more).
    """
    try:
        with path.open("rb") as file:
            metadata = _metadata(file, path, wanted=_VOCABULARY)
    except OSError as exc:
        raise ConfigError(f"the model {path} cannot be read: {exc.strerror or exc}") from exc
    except (struct.error, ValueError, OverflowError, RecursionError) as exc:
        raise _broken(path, "its header is cut short or damaged") from exc
    return {key: value for key, value in metadata.items() if key.startswith(_VOCABULARY)}


def _metadata(file: BinaryIO, path: Path, *, wanted: str | None = None) -> dict[str, Any]:
    """Read the entries; lists of strings only of keys that begin with ``wanted``, others empty."""
    magic = file.read(4)
    if magic != MAGIC:
        raise _broken(path, f"it begins with {magic!r} and not with {MAGIC!r}")
    version, _tensors, entries = struct.unpack("<IQQ", file.read(20))
    if version not in _VERSIONS:
        raise _broken(path, f"its GGUF version is {version}; 2 and 3 are supported")
    if entries > _MOST_ENTRIES:
        raise _broken(path, f"its header claims {entries} entries")
    return dict(_entry(file, wanted) for _ in range(entries))


def _entry(file: BinaryIO, wanted: str | None) -> tuple[str, Any]:
    key = _text(file)
    (kind,) = struct.unpack("<I", file.read(4))
    if kind == _ARRAY:
        return key, _array(file, strings=wanted is not None and key.startswith(wanted))
    return key, _value(file, kind)


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        return _array(file, strings=False)
    if kind not in _SCALARS:
        raise struct.error(f"unknown value type {kind}")
    form = struct.Struct("<" + _SCALARS[kind])
    return form.unpack(file.read(form.size))[0]


def _array(file: BinaryIO, *, strings: bool) -> list[Any]:
    """Read an array; ``strings`` are skipped where not wanted, for vocabularies are long."""
    kind, length = struct.unpack("<IQ", file.read(12))
    if kind == _STRING and strings:
        # as JSON would have it: what is not UTF-8 in a token becomes U+FFFD
        return [_exactly(file, _length(file)).decode(errors="replace") for _ in range(length)]
    if kind == _STRING:
        for _ in range(length):
            file.seek(_length(file), 1)
        return []
    if kind in _SCALARS:
        form = struct.Struct("<" + _SCALARS[kind])
        return [value for (value,) in form.iter_unpack(_exactly(file, form.size * length))]
    return [_value(file, kind) for _ in range(length)]


def _text(file: BinaryIO) -> str:
    return _exactly(file, _length(file)).decode()


def _length(file: BinaryIO) -> int:
    (length,) = struct.unpack("<Q", file.read(8))
    return int(length)


def _exactly(file: BinaryIO, count: int) -> bytes:
    if count > _LONGEST_STRING:
        raise struct.error(f"a value of {count} bytes")
    raw = file.read(count)
    if len(raw) < count:
        raise struct.error("end of file")
    return raw


def _kv_bytes(metadata: dict[str, Any], architecture: str) -> int:
    """Return 2 bytes x (key + value size) x key-value heads, over all layers."""
    heads = _integer(metadata, f"{architecture}.attention.head_count")
    layers = _integer(metadata, f"{architecture}.block_count")
    width = _integer(metadata, f"{architecture}.embedding_length")
    if not (heads and layers and width):
        return 0
    kv_heads = sum(
        _per_layer(metadata.get(f"{architecture}.attention.head_count_kv", heads), layers)
    )
    key = _integer(metadata, f"{architecture}.attention.key_length") or width // heads
    value = _integer(metadata, f"{architecture}.attention.value_length") or width // heads
    return 2 * (key + value) * kv_heads


def _per_layer(value: Any, layers: int) -> Iterator[int]:
    """Some hybrid models give one number of heads for each layer instead of one for all."""
    if isinstance(value, list):
        return (int(heads) for heads in value)
    return (int(value) for _ in range(layers))


def _integer(metadata: dict[str, Any], key: str) -> int | None:
    value = metadata.get(key)
    if isinstance(value, list):
        value = max(value, default=None)
    return value if isinstance(value, int) else None


def _fingerprint(file: BinaryIO) -> str:
    stat = os.fstat(file.fileno())
    file.seek(0)
    seen = sha256(f"{stat.st_size} {stat.st_mtime_ns} ".encode())
    seen.update(file.read(_FINGERPRINTED))
    return seen.hexdigest()


def _broken(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path} is not a GGUF model that can be used: {why}",
        hint="give the path of a complete GGUF file, or leave --gguf out for the small model",
    )
