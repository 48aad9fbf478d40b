"""Errors in Anthropic's shape, and what an engine's own errors mean in it.

Status and type follow Anthropic's error table; the wording of ``prompt_too_long`` is what makes
Claude Code compact its conversation.
"""

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


class ApiError(BackendError):
    """An error a client of the Messages API is shown.

    ``retry_after_s`` becomes the ``retry-after`` header; ``another_backend`` says that the failure
    is this backend's own, so the next one may be tried while nothing has been sent.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        retry_after_s: int | None = None,
        another_backend: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        fallback = "invalid_request_error" if status < 500 else "api_error"
        self.type = ERROR_TYPES.get(status, fallback)
        self.retry_after_s = retry_after_s
        self.another_backend = another_backend


def invalid_request(message: str) -> ApiError:
    """Return a 400: the client can never succeed with this request."""
    return ApiError(400, message)


def prompt_too_long(prompt_tokens: int, maximum: int) -> ApiError:
    """Return the 400 whose wording makes Claude Code compact."""
    return ApiError(400, f"prompt is too long: {prompt_tokens} tokens > {maximum} maximum")


def overloaded(message: str, *, retry_after_s: int = 2, another_backend: bool = True) -> ApiError:
    """Return a 529: try again soon."""
    return ApiError(529, message, retry_after_s=retry_after_s, another_backend=another_backend)
