"""The emulator is what the market is judged by: the official package and plain HTTP against it."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from tests.emulators.market import ManualClock, Market, RealClock
from tests.emulators.runpod import RunPod
from tests.integration.eventually import eventually

ORDER = {
    "name": "one",
    "image": "runpod/base:1.0.2-ubuntu2204",
    "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
    "disk": 72,
    "ports": ["22/tcp"],
    "env": {},
}
ARMS = 'echo "until $LLMCTL_DEADLINE"\n'
DELETE = """
import os, urllib.request
url = os.environ["API"] + "/v2/pods/" + os.environ["RUNPOD_POD_ID"]
key = "Bearer " + os.environ["RUNPOD_API_KEY"]
urllib.request.urlopen(urllib.request.Request(url, method="DELETE", headers={"Authorization": key}))
"""


def client(runpod: RunPod, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key or runpod.key}"}
    return httpx.AsyncClient(base_url=runpod.url, headers=headers)


def carried(script: str) -> str:
    text = base64.b64encode(script.encode()).decode()
    return f"sh -c 'echo {text} | base64 -d | sh'"


async def test_the_life_of_a_pod(runpod):
    clock = runpod.market.clock
    async with client(runpod) as http:
        made = await http.post("/v2/pods", json=ORDER)
        assert (made.status_code, made.json()["status"]) == (201, "PROVISIONING")
        assert "r=" in made.headers["RateLimit"]
        path = f"/v2/pods/{made.json()['id']}"
        clock.advance(runpod.pods.provisioning_s)
        assert (await http.get(path)).json()["status"] == "STARTING"
        clock.advance(runpod.pods.starting_s)
        first = (await http.get(path)).json()
        assert first["status"] == "RUNNING"
        assert first["runtime"]["ports"][0]["public"] == first["ssh"]["direct"]["port"]
        wrong = await http.post(f"{path}/action", json={"action": "start"})
        assert wrong.status_code == 409
        stopped = (await http.post(f"{path}/action", json={"action": "stop"})).json()
        assert (stopped["status"], stopped["cost"], stopped["runtime"]) == ("EXITED", 0, None)
        await http.post(f"{path}/action", json={"action": "start"})
        clock.advance(3600)
        second = (await http.get(path)).json()
        assert second["ssh"]["direct"]["port"] != first["ssh"]["direct"]["port"]
        assert second["startedAt"] != first["startedAt"]
        assert (await http.delete(path)).status_code == 204
        assert (await http.get(path)).status_code == 404


async def test_seconds_are_billed_and_a_stopped_container_disk_is_free(runpod):
    clock = runpod.market.clock
    async with client(runpod) as http:
        path = f"/v2/pods/{(await http.post('/v2/pods', json=ORDER)).json()['id']}"
        clock.advance(1800)
        await http.post(f"{path}/action", json={"action": "stop"})
        clock.advance(7200)
        assert runpod.market.bill() == (690_000 + 10_000) // 2
        billed = (await http.get("/v2/billing/pods")).json()
        assert billed["metadata"]["totals"]["totalAmount"] == pytest.approx(0.35)


async def test_v2_names_what_it_does_not_know(runpod):
    async with client(runpod) as http:
        wrong = await http.post("/v2/pods", json=ORDER | {"imageName": "x", "env": {"A": 1}})
        assert wrong.status_code == 422
        assert wrong.json()["errors"] == ["unknown field 'imageName'", "env must hold strings"]
        assert (await http.get("/v1/pods")).status_code == 410
        assert (await http.get("/v2/catalog/gpus?include=AVAILABILITY")).status_code == 400
        assert runpod.market.live() == []


async def test_refusals_cost_nothing(runpod):
    async with client(runpod) as http:
        full = await http.post("/v2/pods", json=ORDER | {"dataCenterIds": ["EUR-IS-1"]})
        assert full.status_code == 400
        assert "no longer any instances" in full.json()["detail"]
        runpod.market.credit = 100_000
        assert (await http.post("/v2/pods", json=ORDER)).status_code == 402
        assert runpod.market.live() == []


async def test_a_pods_own_key_reaches_that_pod_only(runpod):
    pod, other = runpod.add_foreign(), runpod.add_foreign()
    async with client(runpod, pod.spec["key"]) as http:
        assert (await http.get("/v2/pods")).status_code == 403
        assert (await http.get(f"/v2/pods/{other.id}")).status_code == 403
        assert (await http.delete(f"/v2/pods/{other.id}")).status_code == 403
        other_end = f'mutation {{ podTerminate(input: {{ podId: "{other.id}" }}) }}'
        answer = await http.post("/graphql", json={"query": other_end})
        assert answer.json()["errors"][0]["message"] == "Unauthorized"
        assert (await http.delete(f"/v2/pods/{pod.id}")).status_code == 204
    assert runpod.market.live() == [other]


async def test_the_minute_has_a_limit():
    clock = ManualClock()
    async with RunPod(Market(clock), per_minute=2) as runpod, client(runpod) as http:
        statuses = [(await http.get("/v2/pods")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        clock.advance(61)
        assert (await http.get("/v2/pods")).status_code == 200


async def test_a_deadline_counts_only_with_the_script_that_arms_it(runpod):
    deadline = str(int(runpod.market.clock.now()) + 3600)
    async with client(runpod) as http:
        env = {"env": {"LLMCTL_DEADLINE": deadline}}
        await http.post("/v2/pods", json=ORDER | env)
        await http.post("/v2/pods", json=ORDER | env | {"args": carried(ARMS)})
    unarmed, armed = runpod.market.live()
    assert (unarmed.deadline, armed.deadline) == (None, float(deadline))
    runpod.market.clock.advance(4000)
    assert runpod.market.live() == [unarmed]
    assert armed.ended_at == float(deadline)


async def test_nothing_acts_on_a_deadline_while_the_pod_is_stopped(runpod):
    deadline = runpod.market.clock.now() + 3600
    args = {"env": {"LLMCTL_DEADLINE": f"{deadline:.0f}"}, "args": carried(ARMS)}
    async with client(runpod) as http:
        await http.post("/v2/pods", json=ORDER | args)
        (pod,) = runpod.market.live()
        await http.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"})
        runpod.market.clock.advance(7200)
        assert runpod.market.live() == [pod]
        await http.post(f"/v2/pods/{pod.id}/action", json={"action": "start"})
    assert pod.deadline == runpod.market.clock.now() + 3600


async def test_the_official_package_gets_through_a_life(runpod, monkeypatch):
    import runpod as package

    monkeypatch.setattr(package, "api_key", runpod.key)

    def life() -> None:
        made = package.create_pod(
            "one", "runpod/base", "NVIDIA GeForce RTX 4090", ports="22/tcp", env={"A": "b c"}
        )
        assert package.get_pod(made["id"])["desiredStatus"] == "RUNNING"
        assert package.get_pod(made["id"])["runtime"] is None
        assert [each["id"] for each in package.get_pods()] == [made["id"]]
        assert package.stop_pod(made["id"])["desiredStatus"] == "EXITED"
        assert package.resume_pod(made["id"], 1)["desiredStatus"] == "RUNNING"
        package.terminate_pod(made["id"])
        assert package.get_pod(made["id"]) is None
        with pytest.raises(package.error.QueryError, match="Something went wrong"):
            package.terminate_pod(made["id"])
        monkeypatch.setattr(package, "api_key", "rpa_WRONG")
        with pytest.raises(package.error.AuthenticationError):
            package.get_pods()

    await asyncio.to_thread(life)


@pytest.mark.parametrize("honoured", [False, True])
async def test_the_providers_own_timer_works_only_where_a_test_says_so(honoured):
    clock = ManualClock()
    query = """mutation($input: PodFindAndDeployOnDemandInput) {
        podFindAndDeployOnDemand(input: $input) { id } }"""
    wanted = {
        "name": "x",
        "gpuTypeId": ORDER["gpu"]["id"],
        "terminateAfter": "2027-01-15T09:00:00Z",
    }
    async with (
        RunPod(Market(clock), honour_terminate_after=honoured) as runpod,
        client(runpod) as http,
    ):
        await http.post("/graphql", json={"query": query, "variables": {"input": wanted}})
        assert len(runpod.market.live()) == 1
        clock.advance(2 * 3600)
        assert len(runpod.market.live()) == (0 if honoured else 1)


async def test_a_start_command_really_runs_and_ends_its_pod_with_its_own_key(tmp_path: Path):
    proof, script = tmp_path / "proof", tmp_path / "delete.py"
    script.write_text(DELETE)
    async with RunPod(Market(RealClock()), run_args=True) as runpod, client(runpod) as http:
        runpod.pods.provisioning_s = runpod.pods.starting_s = 0.0
        # like a watchdog: it leaves the session that its container would be killed with
        start = f"touch {proof}\nsetsid sh -c 'sleep 0.3; python3 {script}; sleep 600' &\nsleep 600"
        order = ORDER | {"env": {"API": runpod.url}, "args": carried(start)}
        pod_id = (await http.post("/v2/pods", json=order)).json()["id"]
        await eventually(lambda: runpod.market.machine(pod_id) is None)
        assert proof.exists()
        await eventually(lambda: not runpod.containers.processes_of(pod_id))
