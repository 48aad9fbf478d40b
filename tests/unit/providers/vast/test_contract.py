"""What the words of a contract mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.errors import ProviderError
from llmctl.core.money import micro_usd
from llmctl.core.rental import Instance, InstanceState, SshAddress
from llmctl.providers.vast.contract import FATAL, is_dead, read_row, to_instance
from tests.unit.providers.vast.rows import CONTRACT

P, L, R = InstanceState.PENDING, InstanceState.LOADING, InstanceState.RUNNING
S, Q, F, X = (
    InstanceState.STOPPED,
    InstanceState.QUEUED,
    InstanceState.FAILED,
    InstanceState.LOST,
)


def instance(*, dead_s: float = 0.0, **changes) -> Instance:
    return to_instance(read_row(CONTRACT | changes), dead_s=dead_s)


@pytest.mark.parametrize(
    ("actual", "intended", "current", "following", "state"),
    [
        (None, "running", "running", "running", P),
        ("", "running", "running", "running", P),
        ("loading", "running", "running", "running", L),
        ("created", "running", "running", "running", L),
        ("running", "running", "running", "running", R),
        ("exited", "running", "running", "running", L),
        ("exited", "stopped", "stopped", "stopped", S),
        ("running", "stopped", "stopped", "stopped", S),
        ("running", "stopped", "running", "stopped", R),
        ("exited", "stopped", "running", "stopped", S),
        ("stopped", "stopped", "stopped", "stopped", S),
        ("exited", "running", "stopped", "running", Q),
        ("exited", "running", "stopped", "stopped", Q),
        ("exited", "stopped", "stopped", "running", Q),
        (None, "running", "stopped", "running", Q),
        ("frozen", "running", "running", "running", F),
        ("offline", "running", "running", "running", X),
        ("unknown", "running", "running", "running", X),
        ("offline", "stopped", "stopped", "stopped", S),
        ("rebooting", "running", "running", "running", P),
    ],
)
def test_states(actual, intended, current, following, state):
    states = {"actual_status": actual, "intended_status": intended, "cur_state": current}
    assert instance(**states, next_state=following).state is state


@pytest.mark.parametrize("text", FATAL)
def test_docker_errors_are_fatal_while_it_comes_up(text: str):
    failed = instance(actual_status="loading", status_msg=f"Error: {text} for x")
    assert (failed.state, failed.fatal) == (F, True)
    assert text in failed.detail


def test_a_stale_message_does_not_condemn_a_running_container():
    running = instance(status_msg="OCI runtime create failed: earlier")
    assert (running.state, running.fatal) == (R, False)


def test_a_dead_container_is_given_up_after_a_minute():
    dead = {"actual_status": "exited"}
    assert is_dead(read_row(CONTRACT | dead))
    assert not is_dead(read_row(CONTRACT))
    assert instance(**dead, dead_s=60.0).state is L
    assert instance(**dead, dead_s=60.1).state is F


def test_everything_else():
    seen = instance()
    assert seen.id == "30000001"
    assert seen.label == "llmctl/0a1b2c3d/0f"
    assert seen.detail == "success, running ghcr.io/x"
    assert (seen.gpu_name, seen.region, seen.machine) == ("RTX 4090", "Oslo, NO", "4711")
    assert seen.usd_per_hour == micro_usd("0.3125")
    assert seen.stopped_usd_per_hour == micro_usd("0.0125")
    assert seen.created_at == 1_800_000_000.25
    assert seen.generation == "30000001@1800000000"
    assert not seen.spot


def test_a_bare_row_is_an_instance_that_has_not_begun():
    seen = to_instance(read_row({"id": 7, "label": None, "actual_status": None}))
    assert (seen.id, seen.label, seen.state, seen.detail) == ("7", "", P, "not scheduled yet")
    assert (seen.usd_per_hour, seen.stopped_usd_per_hour) == (None, None)
    assert (seen.addresses, seen.generation, seen.created_at) == ((), "7", None)


def test_the_disks_price_is_computed_where_it_is_not_said():
    seen = instance(storage_total_cost=None, storage_cost=0.18, disk_space=40.0)
    assert seen.stopped_usd_per_hour == micro_usd("0.01")


RELAY = SshAddress(host="ssh5.vast.ai", port=10_001, relay=True)


@pytest.mark.parametrize(
    ("changes", "addresses"),
    [
        ({}, (SshAddress(host="203.0.113.7", port=41_001), RELAY)),
        ({"ports": None}, (RELAY,)),
        ({"ports": {}}, (RELAY,)),
        ({"ports": {"22/tcp": None}}, (RELAY,)),
        ({"ports": {"22/tcp": []}}, (RELAY,)),
        ({"ports": {"22/tcp": [{"HostPort": "none"}]}}, (RELAY,)),
        ({"public_ipaddr": None}, (RELAY,)),
        ({"public_ipaddr": "\n", "ssh_host": None}, ()),
        (
            {"ports": {}, "image_runtype": "jupyter_direc ssh_direc ssh_proxy"},
            (SshAddress(host="ssh5.vast.ai", port=10_002, relay=True),),
        ),
        ({"actual_status": "loading"}, ()),
        ({"intended_status": "stopped", "cur_state": "stopped", "next_state": "stopped"}, ()),
    ],
)
def test_addresses(changes: dict, addresses: tuple):
    assert instance(**changes).addresses == addresses


@pytest.mark.parametrize("missing", ["id", "label", "actual_status"])
def test_a_row_of_another_api_is_no_row(missing: str):
    row = {name: value for name, value in CONTRACT.items() if name != missing}
    with pytest.raises(ProviderError, match=missing):
        read_row(row)


def test_a_start_that_is_another_is_another_generation():
    assert instance().generation != instance(start_date=1_800_000_100.0).generation


words = st.sampled_from([None, "", "running", "stopped", "exited", "loading", "created", "offline"])
junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(sorted(CONTRACT)), junk, max_size=6),
    actual=words,
    current=words,
)
def test_a_row_is_read_or_refused(changes: dict, actual: str | None, current: str | None):
    row = CONTRACT | {"actual_status": actual, "cur_state": current} | changes
    try:
        seen = to_instance(read_row(row))
    except ProviderError:
        return
    assert seen.id == str(int(row["id"]))
    assert isinstance(seen.state, InstanceState)
    assert (seen.state is R) or not seen.addresses
