"""Questions before money is spent or something is destroyed."""

import sys

from llmctl.core.errors import ConfigError, LlmctlError


def confirm(question: str, *, yes: bool, expected: str = "y") -> None:
    """Return if the operator agrees; ``yes`` is ``--yes``.

    ``expected`` is what must be typed: ``y``, or the number of things that would be destroyed.
    Raises ``ConfigError`` where nobody can be asked, ``LlmctlError`` for any other answer.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConfigError(
            f"{question} Nobody can be asked: this is not a terminal",
            hint="add --yes to agree beforehand",
        )
    shown = "[y/N]" if expected == "y" else f"Type {expected} to agree:"
    sys.stderr.write(f"{question} {shown} ")
    sys.stderr.flush()
    answer = sys.stdin.readline().strip().lower()
    if answer != expected and not (expected == "y" and answer == "yes"):
        raise LlmctlError("nothing was done: you did not agree")
