"""Errors in Anthropic's shape, and what an engine's own errors mean in it.

Status and type follow Anthropic's error table; the wording of ``prompt_too_long`` is what makes
Claude Code compact its conversation.
"""

import re
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.errors import BackendError

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    529: "overloaded_error",
}

_QUOTED_CHARS = 400
"""How much of an engine's own words a client is shown."""


class ApiError(BackendError):
    """An error a client of the Messages API is shown.

    ``retry_after_s`` becomes the ``retry-after`` header; ``another_backend`` says that the failure
    is this backend's own, so the next one may be tried while nothing has been sent; ``retry_once``
    says that the same engine may well succeed when asked again. ``error_code`` tells
    clients what they can do about it, in the ``details`` of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after_s: int | None = None,
        another_backend: bool = False,
        retry_once: bool = False,
        error_code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        fallback = "invalid_request_error" if status < 500 else "api_error"
        self.type = ERROR_TYPES.get(status, fallback)
        self.retry_after_s = retry_after_s
        self.another_backend = another_backend
        self.retry_once = retry_once


def invalid_request(message: str) -> ApiError:
    """Return a 400: the client can never succeed with this request."""
    return ApiError(400, message)


def prompt_too_long(prompt_tokens: int, maximum: int) -> ApiError:
    """Return the 400 whose wording makes Claude Code compact."""
    return ApiError(400, f"prompt is too long: {prompt_tokens} tokens > {maximum} maximum")


def overloaded(message: str, *, retry_after_s: int = 2, another_backend: bool = True) -> ApiError:
    """Return a 529: try again soon."""
    return ApiError(529, message, retry_after_s=retry_after_s, another_backend=another_backend)


def broken_stream(message: str) -> ApiError:
    """Return the error of an answer that the engine cut short or garbled.

    While nothing has been sent, the same request may be made once more.
    """
    return ApiError(502, message, another_backend=True, retry_once=True)


class _ErrorDetail(Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    message: str
    details: dict[str, str] | None = None


class _ErrorBody(Struct, tag="error", tag_field="type", frozen=True, kw_only=True):
    error: _ErrorDetail
    request_id: str


def body(error: ApiError, request_id: str) -> bytes:
    """Return the JSON body of a failed answer, in Anthropic's shape."""
    details = None if error.error_code is None else {"error_code": error.error_code}
    detail = _ErrorDetail(type=error.type, message=error.message, details=details)
    return msgspec.json.encode(_ErrorBody(error=detail, request_id=request_id))


def from_engine(status: int, body: bytes, *, model: str, num_ctx: int | None = None) -> ApiError:
    """Say what an engine's error answer means to a client of the Messages API.

    ``status`` and ``body`` are the engine's own, from Ollama, llama.cpp, vLLM or another
    OpenAI-compatible server, as an answer of its own or out of the middle of a stream. ``num_ctx``
    serves where the engine reports an overflow without its numbers.
    """
    report = _read(status, body)
    return (
        _overflow(report, num_ctx)
        or _refused(report, model)
        or _busy(report, model)
        or _failed(report, model)
    )


class _Report(Struct, frozen=True, kw_only=True):
    status: int
    text: str
    """The engine's own words, on one line; never empty."""
    kind: str = ""
    """``type`` and ``code`` of the error object, where it has them."""
    prompt_tokens: int | None = None
    maximum: int | None = None

    def says(self, *phrases: str) -> bool:
        text = self.text.casefold()
        return any(phrase in text for phrase in phrases)


def _read(status: int, body: bytes) -> _Report:
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        page = re.sub(r"<[^<>]*>", " ", body.decode(errors="replace"))
        return _Report(status=status, text=_one_line(page))
    return _report(status, value)


def _report(status: int, value: Any, depth: int = 0) -> _Report:
    """Read ``{"error": …}`` in its dialects; Ollama passes llama-server's JSON on as a string."""
    while isinstance(value, dict) and "error" in value and value["error"]:
        value = value["error"]
    if isinstance(value, str):
        if depth < 2 and value.lstrip().startswith("{"):
            try:
                return _report(status, msgspec.json.decode(value), depth + 1)
            except (ValueError, RecursionError):
                pass
        return _Report(status=status, text=_one_line(value))
    if not isinstance(value, dict):
        return _Report(status=status, text=_one_line(str(value)))
    message = value.get("message") or value.get("detail") or value
    return _Report(
        status=_inner_status(status, value.get("code")),
        text=_one_line(str(message)),
        kind=f"{value.get('type') or ''} {value.get('code') or ''}",
        prompt_tokens=_positive(value.get("n_prompt_tokens")),
        maximum=_positive(value.get("n_ctx")),
    )


def _inner_status(status: int, code: Any) -> int:
    """Return the status in the error object, which survives where HTTP's was 200 or 500."""
    return code if type(code) is int and 400 <= code < 600 else status


def _positive(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    if len(line) > _QUOTED_CHARS:
        return line[:_QUOTED_CHARS] + "…"
    return line or "no reason given"


# How engines word an overflow, seen in Ollama (two wordings), llama.cpp, vLLM (five generations),
# OpenAI, SGLang, TGI and LM Studio.
_OVERFLOW = re.compile(
    r"exceeds? the (?:available |model's )?(?:maximum )?context (?:size|length|window)"
    r"|longer than the (?:model's )?(?:maximum )?(?:context|model) length"
    r"|maximum context length (?:is|of) \d+"
    r"|prompt \(\d+ tokens\) is too long"
    r"|max_new_tokens` must be <="
    r"|greater than the context length"
    r"|exceeds the context window",
    re.IGNORECASE,
)
_MAXIMUM = re.compile(
    r"(?:maximum context length (?:is|of)|maximum model length of|context size \("
    r"|context length \(|context length of(?: only)?|exceeds limit of|must be <=) ?(\d+)",
    re.IGNORECASE,
)
_PROMPT = re.compile(
    r"(?:request \(|prompt contains(?: at least)?|request has|resulted in|input \("
    r"|prompt \((?:length)?|given:) ?(\d+)"
    r"|(\d+) (?:in (?:the|your) (?:messages|prompt)|tokens from the input)",
    re.IGNORECASE,
)
_COMPLETION = re.compile(
    r"(?:plus|too large:) ?(\d+)|requested (\d+) output"
    r"|(\d+) (?:in|for|tokens for) the completion",
    re.IGNORECASE,
)
_TOTAL = re.compile(r"requested (?:a total of )?(\d+) tokens", re.IGNORECASE)


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(match[match.lastindex or 0]) if match else None


def _overflow(report: _Report, num_ctx: int | None) -> ApiError | None:
    named = "exceed_context_size" in report.kind or "context_length_exceeded" in report.kind
    if not named and not _OVERFLOW.search(report.text):
        return None
    maximum = report.maximum or _number(_MAXIMUM, report.text) or num_ctx
    prompt = report.prompt_tokens or _number(_PROMPT, report.text)
    completion = _number(_COMPLETION, report.text)
    if maximum and prompt and completion and prompt < maximum:
        # The prompt alone fits: this wording makes Claude Code ask for fewer tokens instead.
        asked = f"{prompt} + {completion} > {maximum}"
        return invalid_request(f"input length and `max_tokens` exceed context limit: {asked}")
    prompt = prompt or _number(_TOTAL, report.text)
    if maximum and prompt and prompt >= maximum:
        return prompt_too_long(prompt, maximum)
    limit = f"{maximum} tokens of context" if maximum else "the context"
    return invalid_request(f"prompt is too long for {limit}, says the engine: {report.text}")


def _refused(report: _Report, model: str) -> ApiError | None:
    """Map what no retry on this engine can cure."""
    status, text = report.status, report.text
    if status == 404:
        return _missing(report, model)
    if status in {401, 403}:
        hint = "check the key and the address configured for this backend"
        message = f"the engine refused access (HTTP {status}: {text}); {hint}"
        return ApiError(403, message, another_backend=True)
    if status == 413:
        return ApiError(413, f"the engine refused the request as too large: {text}")
    if (400 <= status < 500 and status not in {408, 429}) or _is_verdict(report):
        return invalid_request(f"{model}: {text}")
    return None


def _is_verdict(report: _Report) -> bool:
    """Tell a refusal that came with a 5xx although the request itself is at fault."""
    return report.says("image input is not supported", "no user query found")


def _missing(report: _Report, model: str) -> ApiError:
    if not report.says("model", model.casefold()):
        message = f"the engine has no chat endpoint at this address (HTTP 404: {report.text})"
        return ApiError(502, f"{message}; check the backend's URL", another_backend=True)
    hint = f"pull it with: ollama pull {model}" if not report.kind else "load it on the engine"
    message = f"model: {model} is not on the engine ({report.text}); {hint}"
    return ApiError(404, message, another_backend=True)


def _busy(report: _Report, model: str) -> ApiError | None:
    if report.status == 429:
        message = f"the engine limits requests to {model}: {report.text}"
        return ApiError(429, message, retry_after_s=5, another_backend=True)
    if report.status in {408, 503, 529} or report.says("server busy"):
        wait_s = 5 if report.says("loading") else 2
        return overloaded(f"the engine is busy: {report.text}", retry_after_s=wait_s)
    return None


_OUT_OF_MEMORY = (
    "out of memory",
    "cudamalloc failed",
    "requires more system memory",
    "unable to allocate",
    "failed to allocate",
    "failed to load model",
    "unable to load model",
    "process has terminated",
    "timed out waiting for llama",
    "resource limitations",
)
_PARSER = ("syntax error", "error unmarshalling", "failed to parse", "error parsing")


def _failed(report: _Report, model: str) -> ApiError:
    text = report.text
    if report.says(*_OUT_OF_MEMORY):
        # A client that tries again at once makes the engine load the model again and again.
        message = f"the engine cannot run {model}: {text}"
        return ApiError(500, message, retry_after_s=30, another_backend=True)
    if report.says(*_PARSER):
        message = f"the engine could not read what {model} wrote: {text}"
        return ApiError(500, message, another_backend=True, retry_once=True)
    return ApiError(500, f"the engine failed on {model}: {text}", another_backend=True)
