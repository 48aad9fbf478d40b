"""What ``health`` and ``doctor`` report, for people and programs to be shown it."""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from llmctl.core.model import LoadedModel


class CheckState(StrEnum):
    """How something that was looked at is."""

    OK = "ok"
    NOTE = "note"
    """It works; something about it is worth knowing, and nothing has to be done."""
    UNKNOWN = "unknown"
    """It could not be found out, or there was nothing to look at."""
    BAD = "bad"
    """Something has to be done."""


class Link(Struct, frozen=True, kw_only=True, tag_field="kind"):
    """One link of the chain from a client to the model."""

    name: str
    state: CheckState = CheckState.OK
    latency_ms: float | None = None
    """Of one short question to it; None where there was no answer, or nothing to time."""
    trouble: str = ""
    """What is wrong, or worth minding, in one sentence; empty while all is well."""
    fix: str = ""
    """What to type about it."""


class ProxyLink(Link, frozen=True, kw_only=True, tag="proxy"):
    """``llmctl serve``; ``name`` is its URL."""

    status: str = ""
    """Its own word: ``ok``, ``degraded``, ``down``, ``draining``; empty without an answer."""
    version: str = ""
    uptime_s: float = 0.0
    generations: int = 0
    streams: int = 0


class AuthLink(Link, frozen=True, kw_only=True, tag="auth"):
    """The token; ``name`` says where ours comes from."""

    required: bool | None = None


class CacheLink(Link, frozen=True, kw_only=True, tag="cache"):
    """The store of answers; ``name`` is its place."""

    store: str = ""
    breaker: str = ""
    entries: int | None = None
    bytes: int | None = None


class LedgerLink(Link, frozen=True, kw_only=True, tag="ledger"):
    """The record of requests; ``name`` is its file."""

    waiting: int = 0
    dropped: int = 0


class BackendLink(Link, frozen=True, kw_only=True, tag="backend"):
    """An engine; ``name`` is its kind and address."""

    engine: str = ""
    version: str = ""
    models: int = 0
    loaded: list[LoadedModel] = []
    in_flight: int | None = None
    """Being answered for the proxy; None where no proxy was there to say."""
    queued: int | None = None


class TunnelLink(Link, frozen=True, kw_only=True, tag="tunnel"):
    """An SSH connection to an engine; ``latency_ms`` is its round trip."""

    tunnel: str = ""
    """``up``, ``connecting``, ``suspect`` or ``down``."""
    holder: str = ""
    """``proxy``, or ``pid N`` of the process that holds it."""
    connected_s: float = 0.0
    """Since it was last connected."""
    reconnects: int = 0


class InstanceLink(Link, frozen=True, kw_only=True, tag="instance"):
    """A machine; ``latency_ms`` is one question over SSH."""

    provider: str = ""
    instance_id: str | None = None
    phase: str = ""
    market: str = ""
    """What its market says of it; empty where it was not asked or does not know it."""
    watchdog: CheckState = CheckState.UNKNOWN
    armed_until: float | None = None
    """Unix time at which the watchdog said it would end the machine."""
    ends_in_s: float | None = None
    """Until then; by the record where the watchdog was not asked."""
    gpu: str = ""


class CompletionLink(Link, frozen=True, kw_only=True, tag="completion"):
    """One real answer through the proxy; ``name`` is the model, ``latency_ms`` its first token."""

    tokens_per_s: float | None = None
    """While it was being written."""
    completion_tokens: int = 0


AnyLink = (
    ProxyLink
    | AuthLink
    | CacheLink
    | LedgerLink
    | BackendLink
    | TunnelLink
    | InstanceLink
    | CompletionLink
)


class HealthReport(Struct, frozen=True, kw_only=True):
    """The whole chain at one moment."""

    at: float
    """Unix time."""
    status: str
    """The proxy's word, ``unreachable`` where none answers."""
    links: list[AnyLink]
    document: dict[str, Any] = {}
    """What the proxy's ``/health`` answered, as it is."""

    @property
    def healthy(self) -> bool:
        return all(link.state is not CheckState.BAD for link in self.links)


class Finding(Struct, frozen=True, kw_only=True):
    """What one check of ``doctor`` found."""

    section: str
    """``machine``, ``configuration``, ``credentials``, ``network``, ``redis``, ``engine`` …"""
    name: str
    state: CheckState
    detail: str
    """One sentence with the real values."""
    fix: str = ""
    """What to type, where something has to be done or can be."""
    took_ms: float | None = None


class DoctorReport(Struct, frozen=True, kw_only=True):
    """Everything ``doctor`` found, in a fixed order."""

    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        return all(finding.state is not CheckState.BAD for finding in self.findings)
