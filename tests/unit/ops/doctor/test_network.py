import pytest

from llmctl.config.load import load
from llmctl.core.paths import find_paths
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor.network import Place, Reached, clock_finding, network_findings, places
from tests.clocks import ManualClock

VAST = Place(name="vast.ai", url="https://console.vast.ai")


def reached(skew):
    return Reached(place=VAST, latency_ms=80.0, skew_s=skew)


class TestTheClock:
    @pytest.mark.parametrize("skew", [0.0, -0.9, 59.0])
    def test_near_enough(self, skew):
        assert clock_finding([reached(skew)]).state is CheckState.OK

    @pytest.mark.parametrize(("skew", "side"), [(300.0, "slow"), (-300.0, "fast")])
    def test_off(self, skew, side):
        found = clock_finding([reached(skew)])
        assert (found.state, found.fix) == (CheckState.BAD, "sudo timedatectl set-ntp true")
        assert found.detail == f"it is 300 s {side} by vast.ai"

    def test_one_of_them_may_be_wrong_itself(self):
        assert clock_finding([reached(900.0), reached(1.0)]).state is CheckState.OK

    def test_nobody_says_the_time(self):
        assert clock_finding([Reached(place=VAST)]).state is CheckState.UNKNOWN


class TestWhomItAsks:
    def found(self, tmp_path, **environ):
        environ |= {"LLMCTL_HOME": str(tmp_path)}
        loaded = load(flags={}, environ=environ)
        return [each.url for each in places(loaded, environ, find_paths(environ))]

    def test_nobody_without_a_key(self, tmp_path):
        assert self.found(tmp_path) == []

    def test_the_market_of_a_key_and_engines_elsewhere(self, tmp_path):
        urls = self.found(
            tmp_path,
            VAST_API_KEY="k",
            LLMCTL_VAST_URL="http://127.0.0.1:9",
            OLLAMA_HOST="http://gpu.example.com:11434",
        )
        assert urls == ["http://127.0.0.1:9", "http://gpu.example.com:11434"]

    def test_without_a_configuration_the_keys_are_enough(self, tmp_path):
        environ = {"LLMCTL_HOME": str(tmp_path), "RUNPOD_API_KEY": "k"}
        assert len(places(None, environ, find_paths(environ))) == 1


async def test_nobody_to_ask():
    paths, clock = await network_findings([], ManualClock())
    assert (paths.state, clock.state) == (CheckState.OK, CheckState.UNKNOWN)
