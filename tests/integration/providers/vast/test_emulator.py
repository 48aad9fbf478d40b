"""The emulator itself, where the adapter does not look: other clients' paths, keys, money, time."""

import json
import shutil

import httpx
import pytest

from tests.contract.bed import Bed
from tests.emulators.market import Market, RealClock
from tests.emulators.vast import VastEmulator
from tests.integration.eventually import eventually

ORDER = {"client_id": "me", "image": "x", "disk": 10, "env": {}, "label": "l", "onstart": ""}


def client(vast: VastEmulator, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key or vast.key}"}
    return httpx.AsyncClient(base_url=vast.url, headers=headers, trust_env=False)


async def test_the_old_list_is_gone(vast: VastEmulator):
    async with client(vast) as http:
        answer = await http.get("/api/v0/instances/")
    assert answer.status_code == 410
    assert answer.json()["error"] == "deprecated_endpoint"


async def test_no_key_and_an_unknown_key(vast: VastEmulator):
    async with httpx.AsyncClient(base_url=vast.url, trust_env=False) as http:
        missing = await http.get("/api/v0/users/current")
        in_query = await http.get("/api/v0/users/current", params={"api_key": vast.key})
    async with client(vast, "else") as http:
        unknown = await http.get("/api/v0/users/current")
    assert (missing.status_code, unknown.status_code, in_query.status_code) == (403, 404, 200)
    assert missing.json()["error"] == unknown.json()["error"] == "auth_error"


async def test_an_instances_key_works_for_it_alone(bed: Bed, vast: VastEmulator):
    mine, other = await bed.rent(), await bed.rent()
    async with client(vast, vast.market.machines[mine].spec["key"]) as http:
        assert (await http.get(f"/api/v0/instances/{mine}/")).status_code == 200
        assert (await http.get(f"/api/v0/instances/{other}/")).status_code == 403
        assert (await http.delete(f"/api/v0/instances/{other}/")).status_code == 403
        assert (await http.get("/api/v1/instances/")).status_code == 403
        assert (await http.put("/api/v0/asks/9000003/", json=ORDER)).status_code == 403
        assert (await http.delete(f"/api/v0/instances/{mine}/")).status_code == 200
    assert [machine.id for machine in vast.market.live()] == [other]


async def test_calls_of_one_kind_keep_their_interval(bed: Bed, vast: VastEmulator):
    vast.paced = True
    async with client(vast) as http:
        assert (await http.get("/api/v1/instances/")).status_code == 200
        assert (await http.get("/api/v1/instances/")).status_code == 429
        bed.clock.advance(1)
        assert (await http.get("/api/v1/instances/")).status_code == 200


async def test_the_list_by_label(bed: Bed, vast: VastEmulator):
    bed.foreign(3)
    instance_id = await bed.rent()
    label = vast.market.machines[instance_id].label
    async with client(vast) as http:
        query = {"select_filters": json.dumps({"label": {"eq": label}})}
        answer = (await http.get("/api/v1/instances/", params=query)).json()
        computed = {"select_filters": json.dumps({"dph_total": {"eq": 1}})}
        refused = await http.get("/api/v1/instances/", params=computed)
    assert [str(row["id"]) for row in answer["instances"]] == [instance_id]
    assert refused.status_code == 400


async def test_an_id_is_no_filter(vast: VastEmulator):
    async with client(vast) as http:
        by_id = await http.post("/api/v0/bundles/", json={"id": {"eq": 9_000_002}})
        by_ask = await http.put(
            "/api/v0/search/asks/", json={"q": {"ask_contract_id": {"eq": "9000002"}}}
        )
    assert by_id.json()["offers"] == []
    assert len(by_ask.json()["offers"]) == 1


async def test_label_reboot_bid_and_keys(bed: Bed, vast: VastEmulator):
    instance_id = await bed.rent()
    async with client(vast) as http:
        path = f"/api/v0/instances/{instance_id}/"
        assert (await http.put(path, json={"label": "else"})).json()["success"]
        assert (await http.put(path, json={"state": "odd"})).status_code == 400
        for action in ("reboot", "recycle"):
            answer = await http.put(f"/api/v0/instances/{action}/{instance_id}/", json={})
            assert answer.json()["success"]
        bid = await http.put(f"/api/v0/instances/bid_price/{instance_id}/", json={"price": 0.3})
        assert bid.json()["success"]
        key = vast.ssh_keys[0]["id"]
        assert (await http.delete(f"/api/v0/ssh/{key}/")).json()["success"]
    machine = vast.market.machines[instance_id]
    assert (machine.label, machine.spec["bid"], vast.ssh_keys) == ("else", 0.3, [])


async def test_the_gpu_is_billed_while_it_runs_and_the_disk_until_the_end(
    bed: Bed, vast: VastEmulator
):
    instance_id = await bed.rent(deadline=bed.clock.now() + 1e6)
    machine = vast.market.machines[instance_id]
    coming_up = 38
    bed.clock.advance(coming_up)
    disk = machine.stopped_price
    assert vast.market.bill() == pytest.approx(disk * coming_up / 3600, abs=2)
    bed.clock.advance(3600)
    before = vast.market.bill()
    assert before == pytest.approx(disk * coming_up / 3600 + machine.running_price, abs=2)
    await bed.provider.stop(instance_id)
    bed.clock.advance(3600)
    assert vast.market.bill() - before == pytest.approx(disk, abs=2)
    async with client(vast) as http:
        bounds = json.dumps({"day": {"gte": 0, "lte": 2e9}})
        answer = await http.get("/api/v0/charges/", params={"select_filters": bounds})
        refused = await http.get("/api/v0/charges/")
    (row,) = answer.json()["results"]
    assert row["source"] == f"instance-{instance_id}"
    assert row["amount"] == pytest.approx(vast.market.bill() / 1e6, abs=0.001)
    assert refused.status_code == 400


@pytest.mark.parametrize("fate", ["never_scheduled", "stuck", "oci_error"])
async def test_without_a_container_no_deadline_is_armed(bed: Bed, vast: VastEmulator, fate: str):
    bed.set_fate(fate)
    instance_id = await bed.rent()
    assert vast.market.machines[instance_id].deadline is None


@pytest.mark.parametrize("script", ["", "sleep 3600"])
async def test_a_deadline_nobody_reads_is_none(bed: Bed, vast: VastEmulator, script: str):
    instance_id = await bed.rent(start_script=script)
    assert vast.market.machines[instance_id].deadline is None


@pytest.mark.parametrize(
    "broken",
    [
        {"image": None},
        {"disk": 4},
        {"onstart": "#" * 4097},
        {"label": "x" * 257},
        {"env": "-e A=1"},
    ],
    ids=lambda broken: next(iter(broken)),
)
async def test_bad_orders_are_refused(vast: VastEmulator, broken: dict):
    async with client(vast) as http:
        answer = await http.put("/api/v0/asks/9000002/", json=ORDER | broken)
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_args"


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script needs curl")
async def test_a_start_script_really_runs_and_can_end_its_own_contract():
    async with VastEmulator(Market(RealClock()), run_onstart=True) as vast:
        for name in ("schedule_s", "pull_s", "create_s"):
            setattr(vast.contracts, name, 0.0)
        script = (
            'sleep 600 & curl -fsS -X DELETE -H "Authorization: Bearer $CONTAINER_API_KEY"'
            f' "{vast.url}/api/v0/instances/$CONTAINER_ID/"; wait'
        )
        order = ORDER | {"env": {"LLMCTL_DEADLINE": "1"}, "onstart": script + " # LLMCTL_DEADLINE"}
        async with client(vast) as http:
            contract = (await http.put("/api/v0/asks/9000002/", json=order)).json()["new_contract"]
        await eventually(lambda: not vast.market.live())
        await eventually(lambda: not vast.containers.processes_of(str(contract)))
        assert vast.market.machines[str(contract)].ended_at is not None
