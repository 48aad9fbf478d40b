"""One row of vast.ai's instances, and what its words mean; pure.

Four fields speak of the state: ``actual_status`` is the container's, ``intended_status``,
``cur_state`` and ``next_state`` are the contract's.
"""

import math
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.errors import ProviderError
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import Instance, InstanceState, ProviderName, SshAddress

MONTH_H = 720
"""Hours in the month that storage is priced by."""
EXITED_GRACE_S = 60.0
"""How long a container that was asked to run may say ``exited``; it does so after a start too."""
FATAL = (
    "OCI runtime create failed",
    "manifest unknown",
    "pull access denied",
    "unauthorized:",
)
"""Of docker: what does not get better by waiting."""

_STATES = {
    "loading": InstanceState.LOADING,
    "created": InstanceState.LOADING,
    "running": InstanceState.RUNNING,
    "frozen": InstanceState.FAILED,
    "offline": InstanceState.LOST,
    "unknown": InstanceState.LOST,
}


class ContractRow(Struct, frozen=True, kw_only=True):
    """The fields llmctl reads; without the first three a row is not one of this API."""

    id: int
    label: str | None
    actual_status: str | None
    intended_status: str | None = None
    cur_state: str | None = None
    next_state: str | None = None
    status_msg: str | None = None
    machine_id: int | None = None
    gpu_name: str | None = None
    geolocation: str | None = None
    dph_total: float | None = None
    storage_total_cost: float | None = None
    storage_cost: float | None = None
    disk_space: float | None = None
    public_ipaddr: str | None = None
    ports: Any = None
    ssh_host: str | None = None
    ssh_port: int | None = None
    image_runtype: str | None = None
    start_date: float | None = None
    is_bid: bool | None = None


def read_row(row: object) -> ContractRow:
    """Raise ``ProviderError`` for what is no row."""
    try:
        return msgspec.convert(row, ContractRow, strict=False)
    except msgspec.ValidationError as exc:
        raise ProviderError(f"vast.ai shows an instance that cannot be read: {exc}") from exc


def is_dead(row: ContractRow) -> bool:
    """Return whether its container ended though it should run; a start looks so for a while."""
    return row.actual_status == "exited" and row.intended_status == row.cur_state == "running"


def to_instance(row: ContractRow, *, dead_s: float = 0.0) -> Instance:
    """Return what a row says; ``dead_s`` is how long ``is_dead`` has been seen."""
    detail = (row.status_msg or "").strip()
    state = _state(row, dead_s)
    fatal = state in (InstanceState.PENDING, InstanceState.LOADING) and any(
        text in detail for text in FATAL
    )
    return Instance(
        provider=ProviderName.VAST,
        id=str(row.id),
        label=row.label or "",
        state=InstanceState.FAILED if fatal else state,
        detail=detail or f"{row.actual_status or 'not scheduled yet'}",
        fatal=fatal,
        gpu_name=row.gpu_name or "",
        region=row.geolocation or "",
        machine="" if row.machine_id is None else str(row.machine_id),
        usd_per_hour=_money(row.dph_total),
        stopped_usd_per_hour=_money(storage_price(row)),
        addresses=_addresses(row, state),
        generation=_generation(row),
        created_at=row.start_date,
        spot=bool(row.is_bid),
    )


def storage_price(row: Any, disk_gb: float | None = None) -> float | None:
    """Return dollars an hour of the disk: billed from creation to the end, also while stopped."""
    disk_gb = row.disk_space if disk_gb is None else disk_gb
    if row.storage_total_cost is not None:
        return float(row.storage_total_cost)
    if row.storage_cost is None or disk_gb is None:
        return None
    return float(row.storage_cost * disk_gb / MONTH_H)


def _state(row: ContractRow, dead_s: float) -> InstanceState:
    if row.cur_state == "stopped" or row.actual_status == "stopped":
        waits = "running" in (row.intended_status, row.next_state)
        return InstanceState.QUEUED if waits else InstanceState.STOPPED
    if row.actual_status == "exited":
        if row.intended_status == "stopped":
            return InstanceState.STOPPED
        return InstanceState.FAILED if dead_s > EXITED_GRACE_S else InstanceState.LOADING
    # a word that is not known yet is waited for like one that says nothing
    return _STATES.get(row.actual_status or "", InstanceState.PENDING)


def _addresses(row: ContractRow, state: InstanceState) -> tuple[SshAddress, ...]:
    """Return the published port first, the relay second; the relay's is known from the start."""
    if state is not InstanceState.RUNNING:
        return ()
    found = []
    port = _published(row.ports)
    host = (row.public_ipaddr or "").strip()
    if host and port is not None:
        found.append(SshAddress(host=host, port=port))
    if row.ssh_host and row.ssh_port:
        # images with Jupyter keep the relay's first port for it
        shift = 1 if "jupyter" in (row.image_runtype or "") else 0
        relay = row.ssh_host.strip()
        found.append(SshAddress(host=relay, port=row.ssh_port + shift, relay=True))
    return tuple(found)


def _published(ports: Any) -> int | None:
    """Return where 22/tcp is published; ``{}`` and null before it is, and where no port is free."""
    try:
        return int(ports["22/tcp"][0]["HostPort"])
    except (TypeError, KeyError, IndexError, ValueError):
        return None


def _generation(row: ContractRow) -> str:
    """Change with every start: a recycled container has a new host key, others keep theirs."""
    return str(row.id) if row.start_date is None else f"{row.id}@{row.start_date:.0f}"


def _money(dollars: float | None) -> MicroUsd | None:
    return None if dollars is None or not math.isfinite(dollars) else micro_usd(dollars)
