import pytest

from llmctl.core.rental import Phase, ProviderName, Rental, UpSpec
from llmctl.state.intervals import Interval, interval_of

NOT_BILLED = {Phase.INTENT, Phase.GONE}


def a_rental(**changes) -> Rental:
    usual = {
        "uuid": "0" * 32,
        "name": "main",
        "provider": ProviderName.VAST,
        "label": "llmctl/0a1b2c3d/" + "0" * 32,
        "phase": Phase.READY,
        "created_at": 0.0,
        "spec": UpSpec(name="main", providers=(ProviderName.VAST,)),
        "instance_id": "7",
        "usd_per_hour": 400_000,
        "stopped_usd_per_hour": 20_000,
    }
    return Rental(**(usual | changes))


@pytest.mark.parametrize("phase", Phase)
def test_what_exists_is_billed_until_it_is_proved_gone(phase):
    assert (interval_of(a_rental(phase=phase), 5.0) is None) == (phase in NOT_BILLED)


def test_running_and_stopped_have_prices_of_their_own():
    whose = {"provider": "vast", "instance_id": "7"}
    running = Interval(begins=5.0, ends=None, usd_per_hour=400_000, kind="running", **whose)
    stopped = Interval(begins=5.0, ends=None, usd_per_hour=20_000, kind="stopped", **whose)
    assert interval_of(a_rental(), 5.0) == running
    assert interval_of(a_rental(phase=Phase.STOPPED), 5.0) == stopped


def test_an_unknown_price_stays_unknown():
    assert interval_of(a_rental(usd_per_hour=None), 5.0).usd_per_hour is None


def test_what_has_no_id_or_costs_nothing_has_no_interval():
    assert interval_of(a_rental(instance_id=None, phase=Phase.CREATING), 5.0) is None
    assert interval_of(a_rental(provider=ProviderName.HOST), 5.0) is None
