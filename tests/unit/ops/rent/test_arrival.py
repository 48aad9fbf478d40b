import pytest

from llmctl.config.schema import WaitConfig
from llmctl.core.errors import ProviderError
from llmctl.core.rental import Instance, InstanceState, ProviderName
from llmctl.ops.rent.arrival import Arrival, HostFailed

WAIT = WaitConfig()
NO_NEWS = ProviderError("too many requests", retryable=True)


def seen(state: InstanceState, **changes) -> Instance:
    return Instance(provider=ProviderName.VAST, id="1", label="", state=state, **changes)


@pytest.mark.parametrize(
    ("state", "limit", "words"),
    [
        (InstanceState.PENDING, 180, "no machine has taken it within 180 s"),
        (InstanceState.QUEUED, 180, "no GPU came free within 180 s"),
        (InstanceState.RUNNING, 300, "no address to reach it at within 300 s"),
        (InstanceState.LOST, 180, "its host did not answer its market within 180 s"),
    ],
)
def test_every_state_has_its_time(state, limit, words):
    arrival = Arrival(WAIT, 0.0)
    for now in range(0, limit + 1, 6):
        arrival.judge(seen(state), now)
    with pytest.raises(HostFailed, match=words):
        arrival.judge(seen(state), limit + 1)


def test_the_time_of_a_state_begins_with_it():
    arrival = Arrival(WAIT, 0.0)
    arrival.judge(seen(InstanceState.PENDING), 0.0)
    arrival.judge(seen(InstanceState.LOADING), 179.0)
    arrival.judge(seen(InstanceState.RUNNING), 600.0)
    arrival.judge(seen(InstanceState.RUNNING), 899.0)
    with pytest.raises(HostFailed):
        arrival.judge(seen(InstanceState.RUNNING), 901.0)


def test_an_image_may_take_long_as_long_as_it_moves():
    arrival = Arrival(WAIT, 0.0)
    for now in range(0, 1201, 60):
        arrival.judge(seen(InstanceState.LOADING, detail=f"layer {now}"), now)
    with pytest.raises(HostFailed, match="its image was not pulled within 1200 s"):
        arrival.judge(seen(InstanceState.LOADING, detail="another"), 1201)


def test_an_image_that_stands_still_is_given_up():
    arrival = Arrival(WAIT, 0.0)
    arrival.judge(seen(InstanceState.LOADING, detail="layer 1"), 0.0)
    arrival.judge(seen(InstanceState.LOADING, detail="layer 2"), 100.0)
    arrival.judge(seen(InstanceState.LOADING, detail="layer 2"), 700.0)
    with pytest.raises(HostFailed, match="no progress for 600 s"):
        arrival.judge(seen(InstanceState.LOADING, detail="layer 2"), 701.0)


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        (seen(InstanceState.FAILED, detail="ERROR"), "cannot start: ERROR"),
        (seen(InstanceState.LOADING, detail="manifest unknown", fatal=True), "manifest unknown"),
        (seen(InstanceState.STOPPED), "was stopped by its market"),
        (seen(InstanceState.STOPPED, spot=True), "was outbid"),
    ],
)
def test_what_will_not_come_up_is_given_up_at_once(instance, words):
    with pytest.raises(HostFailed, match=words):
        Arrival(WAIT, 0.0).judge(instance, 0.0)


def test_a_new_instance_may_be_unknown_for_as_long_as_lists_lag():
    arrival = Arrival(WAIT, 0.0)
    arrival.judge(None, 60.0)
    arrival.judge(seen(InstanceState.PENDING), 61.0)
    with pytest.raises(HostFailed, match="vanished"):
        arrival.judge(None, 62.0)


def test_one_that_never_shows_has_vanished():
    with pytest.raises(HostFailed, match="vanished"):
        Arrival(WAIT, 0.0).judge(None, 61.0)


def test_no_news_counts_for_nothing_but_time():
    arrival = Arrival(WAIT, 0.0)
    arrival.judge(seen(InstanceState.PENDING), 0.0)
    arrival.judge(NO_NEWS, 180.0)
    with pytest.raises(HostFailed, match="within 180 s"):
        arrival.judge(NO_NEWS, 181.0)
