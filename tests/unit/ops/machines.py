"""Machines on record, as the tests of ``health`` and ``doctor`` need them."""

from llmctl.core.model import EngineFacts, LoadedModel
from llmctl.core.money import MicroUsd
from llmctl.core.rental import Instance, InstanceState, Phase, ProviderName, Rental
from llmctl.ops.machines import Machine
from llmctl.ssh.host import GpuFact, HostFacts
from llmctl.ssh.watchdog import Armed
from tests.unit.ops.rent.stage import a_spec, an_offer

NOW = 1_800_000_000.0
LEFT_S = 6 * 3600.0
LOADED = LoadedModel(name="qwen3-coder", context_tokens=65536, gpu_share=1.0)
FACTS = HostFacts(
    gpus=(GpuFact(name="NVIDIA GeForce RTX 4090", memory_mib=24_564),),
    ram_mib=64_000,
    disk_free_bytes=10**11,
    is_root=True,
    systemd=False,
)


def a_rental(**changes) -> Rental:
    usual = {
        "uuid": "0a" * 16,
        "name": "main",
        "provider": ProviderName.VAST,
        "label": "llmctl/0a1b2c3d/x",
        "phase": Phase.READY,
        "created_at": NOW - 3600,
        "spec": a_spec(),
        "offer": an_offer(),
        "instance_id": "7001",
        "deadline": NOW + LEFT_S,
        "usd_per_hour": MicroUsd(360_000),
        "stopped_usd_per_hour": MicroUsd(12_000),
        "model": "qwen3-coder",
        "num_ctx": 65536,
    }
    return Rental(**(usual | changes))


def an_instance(**changes) -> Instance:
    usual = {
        "provider": ProviderName.VAST,
        "id": "7001",
        "label": "llmctl/0a1b2c3d/x",
        "state": InstanceState.RUNNING,
    }
    return Instance(**(usual | changes))


def a_machine(**changes) -> Machine:
    """One that is well in every way, but for ``changes``."""
    usual = {
        "rental": a_rental(),
        "market": an_instance(),
        "reached": True,
        "latency_ms": 120.0,
        "armed": Armed(deadline=NOW + LEFT_S, idle_s=3600.0, pid=42),
        "facts": FACTS,
        "engine": EngineFacts(version="0.33.0", latency_ms=44.0, loaded=(LOADED,)),
    }
    return Machine(**(usual | changes))
