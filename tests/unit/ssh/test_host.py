import pytest

from llmctl.ssh.host import GpuFact, read_facts

RENTED = """\
gpu NVIDIA GeForce RTX 4090, 24564
gpu NVIDIA GeForce RTX 4090, 24564
ram 131891292
disk 104857600
uid 0
"""


def test_facts_of_a_rented_machine() -> None:
    facts = read_facts(RENTED)
    assert facts.gpus == (GpuFact(name="NVIDIA GeForce RTX 4090", memory_mib=24564),) * 2
    assert facts.ram_mib == 128800
    assert facts.disk_free_bytes == 100 * 1024**3
    assert facts.is_root
    assert not facts.systemd


def test_facts_of_a_machine_without_gpu() -> None:
    facts = read_facts("ram 1024\ndisk 5\nuid 1000\nsystemd\n")
    assert facts.gpus == ()
    assert not facts.is_root
    assert facts.systemd


@pytest.mark.parametrize(
    "text", ["", "ram x\ndisk 5\nuid 0\n", "gpu A, [N/A]\nram 1\ndisk 1\nuid 0"]
)
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        read_facts(text)
