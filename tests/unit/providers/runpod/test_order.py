import base64
import json
import shlex

from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.rental import Offer, Order, ProviderName
from llmctl.providers.runpod.market import offer_id
from llmctl.providers.runpod.order import pod_body, start_command
from tests.unit.providers.runpod.rows import RTX_4090

KEY = "ssh-ed25519 AAAA llmctl-laptop"


def order(*, place: str = "EU-RO-1", min_cuda: str | None = None, count: int = 1, **changes):
    offer = Offer(
        provider=ProviderName.RUNPOD,
        id=offer_id("SECURE", place, min_cuda, RTX_4090),
        gpu="rtx4090",
        gpu_name="RTX 4090",
        gpu_count=count,
        gpu_memory_mib=24576,
        usd_per_hour=700_000,
    )
    usual = {
        "offer": offer,
        "label": "llmctl/0a1b2c3d/" + "0" * 32,
        "image": "example/image:1",
        "disk_gb": 60,
        "public_key": KEY,
        "start_script": "echo armed\n",
        "deadline": 1_800_003_600.9,
    }
    return Order(**(usual | changes))


def test_the_body_of_a_create():
    assert pod_body(order(min_cuda="12.4", count=2, environment={"A": "b"})) == {
        "name": "llmctl/0a1b2c3d/" + "0" * 32,
        "image": "example/image:1",
        "gpu": {"id": RTX_4090, "count": 2, "minCudaVersion": "12.4"},
        "cloud": "SECURE",
        "disk": 60,
        "ports": ["22/tcp"],
        "env": {"A": "b", "PUBLIC_KEY": KEY, "LLMCTL_DEADLINE": "1800003600"},
        "startSsh": True,
        "args": start_command("echo armed\n"),
        "dataCenterIds": ["EU-RO-1"],
    }


def test_a_volume_is_mounted_where_images_expect_it():
    body = pod_body(order(volume="vol1"))
    assert body["mounts"] == {"network": [{"volumeId": "vol1", "path": "/workspace"}]}


def test_without_a_data_centre_the_scheduler_chooses():
    assert "dataCenterIds" not in pod_body(order(place=""))


def test_nobody_gets_in_by_another_key():
    body = pod_body(order(environment={"PUBLIC_KEY": "ssh-rsa other", "LLMCTL_DEADLINE": "9"}))
    assert body["env"]["PUBLIC_KEY"] == KEY
    assert body["env"]["LLMCTL_DEADLINE"] == "1800003600"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_script_arrives_whole(script):
    words = shlex.split(json.loads(json.dumps(start_command(script))))
    assert words[:2] == ["sh", "-c"]
    assert len(words) == 3
    carried = words[2].partition("echo ")[2].partition(" |")[0]
    assert base64.b64decode(carried).decode() == script
