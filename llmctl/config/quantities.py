"""Durations and sizes as people write them."""

import re

_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)
_KEEP_ALIVE = re.compile(r"-?(?:\d+(?:\.\d+)?(?:ns|us|ms|s|m|h))+", re.ASCII)


def seconds(text: str) -> float:
    """Read ``"90"``, ``"10m"``, ``"1h30m"`` or ``"1.5h"``; raises ``ValueError``."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError('expected a duration such as "24h", "1h30m" or "90s"')
    return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))


def size(text: str) -> int:
    """Read ``"1048576"``, ``"512MiB"`` or ``"1.5GB"`` as bytes; raises ``ValueError``."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _BYTES:
        raise ValueError('expected a size such as "1GiB", "512MiB" or "500MB"')
    return int(float(match[1]) * _BYTES[match[2]])


def keep_alive(text: str) -> str:
    """Return a duration as Go reads it, which is what Ollama does; raises ``ValueError``.

    A bare number counts seconds; a negative one keeps the model loaded for ever.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return text + "s"
    if not _KEEP_ALIVE.fullmatch(text):
        raise ValueError('expected a duration such as "30m", or "-1s" for ever')
    return text
