"""What the running proxy says about itself."""

from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.errors import BackendError, Unhealthy
from llmctl.core.model import Health
from llmctl.ops.running import RunningProxy


class Checked(Struct, frozen=True, kw_only=True):
    """The verdict, and the proxy's whole answer for ``--json``."""

    health: Health
    document: dict[str, Any]


def check(proxy: RunningProxy) -> Checked:
    """Ask once; raises ``Unhealthy`` where no proxy answers, ``AuthError`` for a refused token."""
    try:
        answer = proxy.get("/health")
        health = proxy.decode(answer, "/health", Health)
    except BackendError as failure:
        raise Unhealthy(failure.message, hint=failure.hint) from failure
    return Checked(health=health, document=msgspec.json.decode(answer.body))
