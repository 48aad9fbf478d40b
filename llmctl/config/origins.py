"""Where a value came from, so that a wrong one can be found and changed."""

from typing import Literal

from msgspec import Struct


class Origin(Struct, frozen=True, kw_only=True):
    """The source of one setting; as text what to look for, e.g. ``LLMCTL_SERVE_PORT``."""

    kind: Literal["flag", "env", "customary", "file", "default"]
    """``customary`` is a variable that is not ours, such as ``REDIS_URL``."""
    where: str = ""
    """Flag, variable, or ``PATH:LINE``; empty for a default."""

    def __str__(self) -> str:
        return self.where or "default"


DEFAULT = Origin(kind="default")


class Given(Struct, frozen=True, kw_only=True):
    """A value as it was found, before it is checked: text, or what TOML or a flag made of it."""

    value: object
    origin: Origin
