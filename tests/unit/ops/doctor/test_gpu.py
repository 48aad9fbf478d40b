import pytest

from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor.gpu import Card, local_cards, local_findings, machine_finding, read_cards

RTX4090 = Card(name="RTX 4090", memory_mib=24_564, used_mib=500, driver="560.35.03")
CSV = """NVIDIA GeForce RTX 4090, 24564, 18000, 560.35.03
NVIDIA H100 80GB HBM3, 81559, [N/A], 550.54.15
No devices were found
"""


def test_what_nvidia_smi_prints():
    first, second = read_cards(CSV)
    assert (first.memory_mib, first.used_mib, first.driver) == (24564, 18000, "560.35.03")
    assert (second.name, second.used_mib) == ("NVIDIA H100 80GB HBM3", None)


class TestAsking:
    def program(self, tmp_path, *lines):
        path = tmp_path / "nvidia-smi"
        path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
        path.chmod(0o755)
        return {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    async def test_a_card(self, tmp_path):
        environ = self.program(
            tmp_path, 'echo "$1" | grep -q memory.total || exit 9', "echo A, 1000, 5, 560"
        )
        assert await local_cards(environ) == [
            Card(name="A", memory_mib=1000, used_mib=5, driver="560")
        ]

    async def test_a_driver_that_is_not_loaded(self, tmp_path):
        assert await local_cards(self.program(tmp_path, "echo failed", "exit 9")) is None

    async def test_no_program(self, tmp_path):
        assert await local_cards({"PATH": str(tmp_path)}) is None


class TestHere:
    def test_no_card(self):
        (found,) = local_findings(None, "qwen3-coder:30b", 65536)
        assert found.state is CheckState.NOTE

    def test_it_fits_with_a_smaller_cache(self):
        (found,) = local_findings([RTX4090], "qwen3-coder:30b", 65536)
        assert found.state is CheckState.NOTE
        assert found.fix == "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve"
        assert found.detail.startswith("RTX 4090, 24,564 MiB (500 in use); 21.7 of 22.5 GiB")

    def test_it_fits_as_it_is(self):
        (found,) = local_findings([RTX4090], "qwen2.5-coder:7b", 32768)
        assert (found.state, found.fix) == (CheckState.OK, "")

    def test_it_does_not_fit(self):
        (found,) = local_findings([RTX4090], "qwen3-coder:30b", 262_144)
        assert (found.state, found.fix) == (CheckState.BAD, "llmctl serve --num-ctx 32768")
        assert "GiB of GPU memory" in found.detail

    def test_cards_add_up(self):
        (found,) = local_findings([RTX4090, RTX4090], "qwen3-coder:30b", 65536)
        assert found.state is CheckState.OK
        assert found.detail.startswith("2 x RTX 4090, 49,128 MiB (1,000 in use)")

    @pytest.mark.parametrize(("model", "window"), [(None, 0), ("mystery", 65536)])
    def test_nothing_to_compare_with(self, model, window):
        (found,) = local_findings([RTX4090], model, window)
        assert found.state is CheckState.OK

    def test_an_old_driver(self):
        old = Card(name="RTX 3090", memory_mib=24_576, driver="525.60.13")
        _, found = local_findings([old], None, 0)
        assert (found.state, found.fix) == (CheckState.BAD, "sudo apt install nvidia-driver-550")


class TestOnRecord:
    def test_up_has_chosen_its_cache(self):
        found = machine_finding("main", [RTX4090], "qwen3-coder", 65536)
        assert (found.name, found.state, found.fix) == ("main", CheckState.OK, "")

    def test_it_does_not_fit(self):
        found = machine_finding("main", [RTX4090], "qwen3-coder", 262_144)
        assert (found.state, found.fix) == (CheckState.BAD, "llmctl up main --num-ctx 32768")

    def test_no_card(self):
        assert machine_finding("main", [], "qwen3-coder", 65536).state is CheckState.NOTE
