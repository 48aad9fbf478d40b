"""Logging: one line to stderr, for people or as JSON, without secrets."""

import json
import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Set while a request is being answered; every line of that time carries it."""

ATTRIBUTES = "attributes"
"""``extra={ATTRIBUTES: {name: value}}`` are fields of their own in a JSON line."""
MASK = "****"
_SECRET_LIKE = re.compile(
    r"llmctl_[\w-]{16,}"
    r"|\bsk-[\w-]{16,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|(?i:(?<=bearer )\S+)"
    r"|(?i:(?<=x-api-key: )\S+|(?<=x-api-key=)\S+|(?<='x-api-key': ')[^']+)"
)
_NAMED_SECRET = re.compile(r"(?i)KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL")
_known: set[str] = set()


def protect(value: str) -> None:
    """Mask ``value`` in every line from now on; too short a value would mask half the log."""
    if len(value) >= 6:
        _known.add(value)


def protect_environment(environ: Mapping[str, str]) -> None:
    """Mask the values of variables whose names say that they are secret, ours or not.

    For what takes the whole environment along, such as an exception nobody foresaw.
    """
    for name, value in environ.items():
        if _NAMED_SECRET.search(name):
            protect(value)


def redact(text: str) -> str:
    """Replace protected values and whatever looks like a token, key or password in a URL."""
    for value in sorted(_known, key=len, reverse=True):  # one may begin with another
        text = text.replace(value, MASK)
    return _SECRET_LIKE.sub(MASK, text)


class RequestIdFilter(logging.Filter):
    """Copies the context's request id onto the record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class HumanFormatter(logging.Formatter):
    """``warning: message [request id]``, then the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        suffix = f" [{found}]" if (found := getattr(record, "request_id", "")) else ""
        text = f"{record.levelname.lower()}: {record.getMessage()}{suffix}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return redact(text)


class JsonFormatter(logging.Formatter):
    """One JSON object a line; times are RFC 3339 in UTC."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if found := getattr(record, "request_id", ""):
            line["request_id"] = found
        for name, value in getattr(record, ATTRIBUTES, {}).items():
            line[name] = redact(value) if isinstance(value, str) else value
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line)


class LineHandler(logging.StreamHandler[TextIO]):
    """The one handler of ours, told from those that others put beside it."""


def setup(*, level: int, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Send our records of ``level`` and above, and other libraries' warnings, to ``stream``.

    ``stream`` is stderr unless given. Replaces what an earlier call set up.
    """
    handler = LineHandler(stream or sys.stderr)
    handler.addFilter(RequestIdFilter())
    handler.setFormatter(JsonFormatter() if as_json else HumanFormatter())
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if isinstance(known, LineHandler)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("llmctl").setLevel(level)
