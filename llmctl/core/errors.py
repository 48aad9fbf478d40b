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


class NoCapacity(NotFound):
    """No offer fits, or the one that did is gone."""

    code = "no_capacity"


class ProviderError(LlmctlError):
    """A provider's API failed, refused, or said something that cannot be understood.

    An answer that cannot be read is this, never an empty result.
    """

    code = "provider"
    exit_code = ExitCode.REMOTE

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class OutcomeUnknown(ProviderError):
    """The answer to a create was lost: there may be an instance, to be found by its label."""

    code = "outcome_unknown"


class InsufficientCredit(ProviderError):
    """The account cannot pay for what was asked."""

    code = "credit"


class SshError(LlmctlError):
    """The machine cannot be reached or logged in to, or the link broke."""

    code = "ssh"
    exit_code = ExitCode.REMOTE

    def __init__(self, message: str, *, hint: str | None = None, terminal: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.terminal = terminal
        """Whether trying again is pointless: a key was refused, or is not the pinned one."""


class HostKeyChanged(SshError):
    """The machine shows another host key than the pinned one; nothing was sent to it."""

    code = "host_key"
    exit_code = ExitCode.CREDENTIALS

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint, terminal=True)


class RemoteFailed(LlmctlError):
    """A command or service on the machine failed; the message holds its last lines."""

    code = "remote"
    exit_code = ExitCode.REMOTE


class Cancelled(LlmctlError):
    """The operator ended it; what it had made was cleaned up."""

    code = "cancelled"
    exit_code = ExitCode.INTERRUPTED


class LeftoverInstance(LlmctlError):
    """A paid instance may still be running; the message names it and the way to end it."""

    code = "leftover"
    exit_code = ExitCode.LEFTOVER
