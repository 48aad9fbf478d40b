"""One base error, its few leaves, and the exit codes they map to.

Rooms translate foreign exceptions at their edge; only ``cli/main.py`` prints an error and exits.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes are API: scripts branch on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNHEALTHY = 3
    CREDENTIALS = 4
    NOT_FOUND = 5
    REMOTE = 6
    DEADLINE = 7
    LEFTOVER = 8
    BUG = 70
    INTERRUPTED = 130


class LlmctlError(Exception):
    """An expected failure: what failed, with the real values, and what to type next."""

    code = "error"
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(LlmctlError):
    """A value from a flag, the environment or the configuration file cannot be used."""

    code = "config"
    exit_code = ExitCode.USAGE


class AuthError(LlmctlError):
    """A credential is missing, unreadable or refused."""

    code = "credentials"
    exit_code = ExitCode.CREDENTIALS


class NotFound(LlmctlError):
    """What was named does not exist."""

    code = "not_found"
    exit_code = ExitCode.NOT_FOUND


class BackendError(LlmctlError):
    """The engine or the proxy could not be reached, or answered with a failure."""

    code = "backend"
    exit_code = ExitCode.REMOTE


class Unhealthy(LlmctlError):
    """A check ran and found something wrong."""

    code = "unhealthy"
    exit_code = ExitCode.UNHEALTHY


class DeadlineExceeded(LlmctlError):
    """Something did not happen within the time allowed for it."""

    code = "deadline"
    exit_code = ExitCode.DEADLINE
