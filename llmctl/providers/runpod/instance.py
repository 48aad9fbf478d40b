"""From a pod as v2 shows it to an instance. Pure."""

import ipaddress
from datetime import UTC, datetime

from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import Instance, InstanceState, ProviderName, SshAddress
from llmctl.providers.runpod.market import (
    SECURE,
    STOPPED_VOLUME_USD_PER_GB_MONTH,
    disk_price,
)
from llmctl.providers.runpod.wire import Pod, RuntimePort

GONE = "TERMINATED"
_STATES = {
    "PROVISIONING": InstanceState.PENDING,
    "STARTING": InstanceState.LOADING,
    "RUNNING": InstanceState.RUNNING,
    "EXITED": InstanceState.STOPPED,
    "ERROR": InstanceState.FAILED,
}
_CARRIER_NET = ipaddress.ip_network("100.64.0.0/10")
"""Hosts of the community cloud without a public address show one of these."""


def instance(pod: Pod) -> Instance:
    """Return the pod in words that fit all markets.

    A status that is not known counts as pending, so that its phase's deadline ends the wait.
    """
    state = _STATES.get(pod.status, InstanceState.PENDING)
    unreachable = state is InstanceState.RUNNING and _private(pod)
    running, stopped = _prices(pod)
    return Instance(
        provider=ProviderName.RUNPOD,
        id=pod.id,
        label=pod.name or "",
        state=state,
        detail=_NO_ADDRESS if unreachable else pod.status,
        fatal=unreachable or state is InstanceState.FAILED,
        gpu_name=pod.gpu.id if pod.gpu else "",
        region=pod.data_center_id or "",
        machine=pod.data_center_id or pod.cloud or SECURE,
        usd_per_hour=running,
        stopped_usd_per_hour=stopped,
        addresses=addresses(pod) if state is InstanceState.RUNNING else (),
        generation=f"{pod.id}@{pod.started_at or pod.created_at or ''}",
        created_at=_moment(pod.created_at),
    )


def addresses(pod: Pod) -> tuple[SshAddress, ...]:
    """Return the way to sshd: ``ssh.direct``, or the port list, which may know it earlier.

    The relay is left out: it carries a shell, but neither commands nor forwarded ports.
    """
    if pod.ssh is not None and pod.ssh.direct is not None:
        direct = pod.ssh.direct
        return (SshAddress(host=direct.host, port=direct.port, user=direct.username),)
    for row in _ssh_ports(pod):
        if row.ip and row.public and not _is_private(row.ip):
            return (SshAddress(host=row.ip, port=row.public),)
    return ()


def _ssh_ports(pod: Pod) -> list[RuntimePort]:
    ports = pod.runtime.ports if pod.runtime is not None else None
    return [row for row in ports or () if row.private == 22 and row.type in ("tcp", "")]


def _private(pod: Pod) -> bool:
    """Whether sshd is published, but only where nobody gets to; that does not change any more."""
    rows = _ssh_ports(pod)
    return bool(rows) and not addresses(pod) and all(_is_private(row.ip or "") for row in rows)


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in _CARRIER_NET
    except ValueError:
        return False


def _prices(pod: Pod) -> tuple[MicroUsd | None, MicroUsd]:
    """Return the price while running, None where v2 shows 0 (a stopped pod), and while stopped."""
    volume = pod.mounts.persistent.size if pod.mounts and pod.mounts.persistent else 0
    stopped = disk_price(volume, STOPPED_VOLUME_USD_PER_GB_MONTH)
    if not pod.cost:
        return None, stopped
    return MicroUsd(micro_usd(pod.cost) + disk_price((pod.disk or 0) + volume)), stopped


def _moment(text: str | None) -> float | None:
    """Return Unix time; None for what is no time, which is nothing to fail for."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


_NO_ADDRESS = "its host has no public address"
