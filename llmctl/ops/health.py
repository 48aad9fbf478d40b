"""Every link of the chain from a client to the model, looked at at the same time.

A running proxy knows most of it. Where none answers, what it would use is looked at instead.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import Struct

from llmctl.core.clock import Clock
from llmctl.core.errors import AuthError, BackendError, LlmctlError
from llmctl.core.model import Health
from llmctl.core.reports_health import (
    AnyLink,
    AuthLink,
    BackendLink,
    CheckState,
    CompletionLink,
    HealthReport,
    InstanceLink,
    ProxyLink,
    TunnelLink,
)
from llmctl.ops.health_links import links_of, proxy_link, tunnel_link
from llmctl.ops.running import NoAnswer, RunningProxy
from llmctl.ops.trial import Trial
from llmctl.ssh.dial import in_thread

if TYPE_CHECKING:
    from llmctl.ops.tunnels import Background

T = TypeVar("T")

UNREACHABLE = "unreachable"
_TOKEN_FIX = "export LLMCTL_AUTH_TOKEN=…, or run this as the user who runs llmctl serve"  # noqa: S105
_ORDER = ("proxy", "auth", "cache", "ledger", "backend", "tunnel", "instance", "completion")


class Asked(Struct, frozen=True, kw_only=True):
    """What a proxy said, or why it did not."""

    latency_ms: float | None = None
    """Of the shortest question; None where nothing answered."""
    auth_ms: float | None = None
    """Of ``/health``, for which the token is looked at."""
    health: Health | None = None
    document: dict[str, Any] = {}
    failure: LlmctlError | None = None


class Looks(Struct, frozen=True, kw_only=True):
    """The ways to look at each part; fakes go in here."""

    url: str
    token_source: str
    ask: Callable[[], Asked]
    """Blocks."""
    itself: Callable[[], Awaitable[Health]]
    """Looks at engines and stores when there is no proxy to say."""
    tunnels: "Callable[[], Sequence[Background]]"
    machines: Callable[[], Awaitable[list[AnyLink]]]
    complete: Callable[[], Trial] | None = None
    """Blocks; None unless one real answer was asked for."""
    clock: Clock


def ask(proxy: RunningProxy) -> Asked:
    """Ask a proxy how it is: twice, so that the way to it and the token are told apart; blocks."""
    try:
        began = time.monotonic()
        proxy.knock("/health/live")
        latency_ms = round((time.monotonic() - began) * 1000, 2)
    except NoAnswer as failure:
        return Asked(failure=failure)
    try:
        began = time.monotonic()
        answer = proxy.get("/health")
        auth_ms = round((time.monotonic() - began) * 1000, 2)
        health = proxy.decode(answer, "/health", Health)
    except (AuthError, BackendError) as failure:
        return Asked(latency_ms=latency_ms, failure=failure)
    return Asked(
        latency_ms=latency_ms,
        auth_ms=auth_ms,
        health=health,
        document=msgspec.json.decode(answer.body),
    )


async def examine(looks: Looks) -> HealthReport:
    """Look at everything; never raises for what is unwell."""
    asked, machines = await asyncio.gather(_in_thread(looks.ask), _machines(looks))
    health = asked.health
    links: list[AnyLink] = [_proxy(asked, looks.url)]
    if asked.latency_ms is not None:
        links.append(_auth(asked, looks.token_source))
    links += links_of(health or await looks.itself())
    links += [_background(each) for each in looks.tunnels()]
    links += _unless_told(machines, links)
    if looks.complete is not None:
        links.append(await _completion(looks.complete, asked))
    links.sort(key=lambda link: _ORDER.index(_kind(link)))
    return HealthReport(
        at=looks.clock.now(),
        status=health.status if health else UNREACHABLE,
        links=links,
        document=asked.document,
    )


def _proxy(asked: Asked, url: str) -> ProxyLink:
    if asked.health is not None:
        return proxy_link(asked.health, url, asked.latency_ms)
    failure = asked.failure
    if isinstance(failure, AuthError):  # it answers; what it is told next to it
        return ProxyLink(name=url, latency_ms=asked.latency_ms)
    return ProxyLink(
        name=url,
        state=CheckState.BAD,
        latency_ms=asked.latency_ms,
        trouble=failure.message if failure else "it did not answer",
        fix=(failure.hint if failure else None) or "llmctl serve",
    )


def _auth(asked: Asked, source: str) -> AuthLink:
    if isinstance(asked.failure, AuthError):
        trouble, hint = asked.failure.message, asked.failure.hint or ""
        fix = hint if hint.startswith(("chmod ", "rm ")) else _TOKEN_FIX
        return AuthLink(name=source, state=CheckState.BAD, trouble=trouble, fix=fix, required=True)
    if asked.health is None:
        trouble = "it was not asked for the token"
        return AuthLink(name=source, state=CheckState.UNKNOWN, trouble=trouble)
    return AuthLink(name=source, latency_ms=asked.auth_ms, required=asked.health.auth)


def _background(each: "Background") -> TunnelLink:
    holder = f"pid {each.pid}"
    if each.held is None:
        return TunnelLink(
            name=each.name, state=CheckState.UNKNOWN, trouble="it is starting", holder=holder
        )
    return tunnel_link(each.held.status, holder=holder)


async def _machines(looks: Looks) -> list[AnyLink]:
    try:
        return await looks.machines()
    except LlmctlError as failure:
        fix = failure.hint or "llmctl doctor"
        return [InstanceLink(name="-", state=CheckState.BAD, trouble=failure.message, fix=fix)]


def _unless_told(machines: list[AnyLink], links: list[AnyLink]) -> list[AnyLink]:
    """Leave out engines on machines that the proxy has told of."""
    told = {link.name for link in links if isinstance(link, BackendLink)}
    return [link for link in machines if not isinstance(link, BackendLink) or link.name not in told]


async def _completion(complete: Callable[[], Trial], asked: Asked) -> CompletionLink:
    if asked.health is None:
        trouble = "there is no proxy to ask for an answer"
        return CompletionLink(name="-", state=CheckState.BAD, trouble=trouble, fix="llmctl serve")
    try:
        trial = await _in_thread(complete)
    except LlmctlError as failure:
        return CompletionLink(
            name="-",
            state=CheckState.BAD,
            trouble=failure.message,
            fix=failure.hint or "llmctl doctor",
        )
    return CompletionLink(
        name=trial.model,
        latency_ms=trial.first_token_ms,
        tokens_per_s=trial.tokens_per_s,
        completion_tokens=trial.completion_tokens,
    )


async def _in_thread(work: Callable[[], T]) -> T:
    return await in_thread(work, undo=lambda _: None)


def _kind(link: AnyLink) -> str:
    return str(link.__struct_config__.tag)
