import pytest

from llmctl.core.rental import InstanceState
from llmctl.providers.runpod.instance import instance
from tests.unit.providers.runpod.rows import pod

DIRECT = {"host": "195.26.233.3", "port": 34446, "username": "root", "command": "ssh …"}
PROXY = {"host": "ssh.runpod.io", "port": 22, "username": "7h9k-64411eb2", "command": "ssh …"}


def port(**changes) -> dict:
    return {"private": 22, "public": 31022, "type": "tcp", "ip": "195.26.233.9"} | changes


def runtime(*ports: dict) -> dict:
    return {"uptime": 3, "ports": list(ports)}


@pytest.mark.parametrize(
    ("status", "state", "fatal"),
    [
        ("PROVISIONING", InstanceState.PENDING, False),
        ("STARTING", InstanceState.LOADING, False),
        ("RUNNING", InstanceState.RUNNING, False),
        ("EXITED", InstanceState.STOPPED, False),
        ("ERROR", InstanceState.FAILED, True),
        ("REBALANCING", InstanceState.PENDING, False),
    ],
)
def test_states(status, state, fatal):
    found = instance(pod(status=status))
    assert (found.state, found.fatal, found.detail) == (state, fatal, status)


def test_the_direct_way_is_the_address():
    found = instance(pod(ssh={"proxy": PROXY, "direct": DIRECT}))
    assert [str(each) for each in found.addresses] == ["root@195.26.233.3:34446"]


def test_the_port_list_stands_in_while_the_direct_way_is_null():
    found = instance(pod(runtime=runtime(port(private=8888, public=1), port())))
    assert [str(each) for each in found.addresses] == ["root@195.26.233.9:31022"]
    assert not found.fatal


def test_the_relay_is_no_address():
    assert instance(pod(ssh={"proxy": PROXY, "direct": None})).addresses == ()


@pytest.mark.parametrize(
    "row", [port(public=None), port(ip=None), port(type="udp"), port(private=2222)]
)
def test_a_port_that_is_not_published_yet_is_no_address(row):
    found = instance(pod(runtime=runtime(row)))
    assert found.addresses == ()
    assert not found.fatal


def test_a_host_without_public_address_is_not_waited_for():
    found = instance(pod(runtime=runtime(port(ip="100.65.0.21"))))
    assert found.addresses == ()
    assert found.fatal
    assert "no public address" in found.detail


@pytest.mark.parametrize("status", ["PROVISIONING", "STARTING", "EXITED", "ERROR"])
def test_what_does_not_run_has_no_address(status):
    # a stopped pod may show the port it had before: somebody else's by now
    found = instance(pod(status=status, ssh={"proxy": None, "direct": DIRECT}))
    assert found.addresses == ()


@pytest.mark.parametrize("empty", [None, {}, {"ports": None}, {"ports": []}])
def test_an_empty_runtime_is_no_error(empty):
    assert instance(pod(runtime=empty)).addresses == ()


def test_every_start_is_a_generation():
    first = instance(pod())
    second = instance(pod(startedAt="2026-06-01T15:00:00Z"))
    other = instance(pod(id="another"))
    assert len({first.generation, second.generation, other.generation}) == 3
    assert first.generation == instance(pod(cost=0.7)).generation


def test_the_price_holds_the_disk_which_the_cost_does_not():
    found = instance(pod(cost=0.69, disk=72))
    assert (found.usd_per_hour, found.stopped_usd_per_hour) == (700_000, 0)


def test_a_disk_bound_to_the_host_costs_double_while_stopped():
    mounts = {"persistent": {"size": 72, "path": "/workspace"}}
    assert instance(pod(disk=0, mounts=mounts)).usd_per_hour == 700_000
    stopped = instance(pod(status="EXITED", cost=0, mounts=mounts))
    assert (stopped.usd_per_hour, stopped.stopped_usd_per_hour) == (None, 20_000)


def test_a_network_volume_is_not_the_pods_to_pay():
    mounts = {"network": [{"volumeId": "v", "path": "/workspace"}]}
    assert instance(pod(mounts=mounts)).stopped_usd_per_hour == 0


def test_somebody_elses_odd_pod_is_read():
    bare = {"name": None, "gpu": None, "dataCenterId": None, "cost": None, "createdAt": "soon"}
    found = instance(pod(**bare, ssh=None, mounts=None, startedAt=None))
    assert (found.label, found.gpu_name, found.region, found.created_at) == ("", "", "", None)


def test_times_are_unix_times():
    assert instance(pod(createdAt="2026-06-01T12:00:00Z")).created_at == 1780315200.0
    assert instance(pod(createdAt="2026-06-01T12:00:00")).created_at == 1780315200.0
