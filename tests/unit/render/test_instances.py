import json

from llmctl.core.errors import ProviderError
from llmctl.core.rental import Instance, InstanceState, Phase, ProviderName, Rental, UpSpec
from llmctl.core.reports import Down, InstanceStatus, Listed, PowerPlan, Reconciled, UpResult
from llmctl.render import instances as render

VAST = ProviderName.VAST
RENTAL = Rental(
    uuid="u",
    name="main",
    provider=VAST,
    label="llmctl/a/u",
    phase=Phase.READY,
    created_at=0.0,
    spec=UpSpec(name="main", providers=(VAST,)),
    instance_id="77",
    usd_per_hour=342_100,
    stopped_usd_per_hour=10_000,
    model="qwen3-coder:latest",
    num_ctx=65536,
)
INSTANCE = Instance(
    provider=VAST, id="77", label="llmctl/a/u", state=InstanceState.RUNNING, usd_per_hour=342_100
)


def status(**changes):
    usual = {
        "name": "main",
        "provider": VAST,
        "instance_id": "77",
        "phase": Phase.READY,
        "state": InstanceState.RUNNING,
        "gpu": "RTX 4090",
        "model": "qwen3-coder:latest",
        "num_ctx": 65536,
        "usd_per_hour": 342_100,
        "spent_usd": 1_240_000,
        "seconds_left": 7260.0,
        "idle_s": 3600.0,
    }
    return InstanceStatus(**(usual | changes))


def test_status_is_a_line_each_and_what_is_wrong_below():
    lost = status(name="b", state=InstanceState.LOST, spent_usd=None, detail="host is offline")
    text = render.status_text([status(), lost], {"main": "up"})
    assert text == (
        "name  state         machine           model               price     so far  left        tunnel\n"
        "main  ready         RTX 4090 vast 77  qwen3-coder:latest  $0.342/h  $1.24   2 h 1 min   up\n"
        "b     ready (lost)  RTX 4090 vast 77  qwen3-coder:latest  $0.342/h  -       2 h 1 min   -\n"
        "b: host is offline\n"
    ).replace("left        tunnel", "left       tunnel").replace("2 h 1 min   ", "2 h 1 min  ")
    assert render.status_text([], {}) == "nothing is rented\n"


def test_documents_hold_decimal_money():
    (shown,) = json.loads(render.status_document([status()], {}))
    assert (shown["usd_per_hour"], shown["spent_usd"], shown["tunnel"]) == (
        "0.3421",
        "1.2400",
        None,
    )
    result = UpResult(rental=RENTAL, tokens_per_s=None, seconds=1.0, own_seconds=0.1, spent=None)
    up = json.loads(render.up_document(result))
    assert (up["ready_before"], up["spent_usd"]) == (True, None)
    down = json.loads(render.down_document([Down(rental=RENTAL, spent=1_000_000)], ["old"]))
    assert down["ended"][0]["spent_usd"] == "1.0000"
    assert down["already_down"] == ["old"]


def test_up_says_what_is_ready():
    result = UpResult(rental=RENTAL, tokens_per_s=104.6, seconds=1, own_seconds=0.1, spent=12_000)
    assert render.up_text(result) == (
        "name      main\n"
        "model     qwen3-coder:latest\n"
        "context   65,536 tokens\n"
        "speed     105 tokens/s\n"
        "instance  vast 77\n"
        "price     $0.342/h\n"
        "so far    $0.01\n"
    )


def test_down_says_what_it_came_to():
    text = render.down_text([Down(rental=RENTAL, spent=1_240_000)], ["old"])
    assert text == "main is gone; it came to $1.24\nold is already down\n"


def test_listed_instances_say_whose_they_are():
    ours = Listed(instance=INSTANCE, rental=RENTAL, ours=True, here=True)
    assert "vast:77   running  -    $0.342/h  main  llmctl/a/u" in render.listed_text([ours])
    assert "usd_per_hour" in render.listed_facts(ours)
    (shown,) = json.loads(render.listed_document([ours]))
    assert (shown["name"], shown["made_here"]) == ("main", True)
    assert render.listed_text([]) == "there are none\n"


def test_stopping_says_its_price():
    plan = PowerPlan(
        rental=RENTAL, usd_per_hour=342_100, stopped_usd_per_hour=10_000, note="the disk stays"
    )
    assert render.power_text(plan) == (
        "main: $0.342/h while it runs, $0.010/h while it is stopped; the disk stays\n"
    )


def test_what_was_mended_is_said():
    lines = render.reconciled_lines(
        Reconciled(
            adopted=[RENTAL],
            ended=[RENTAL],
            strays=[INSTANCE],
            problems=[ProviderError("vast cannot be read")],
        )
    )
    assert lines[0] == "adopted vast instance 77 as main"
    assert lines[1] == "main is gone: destroyed"
    assert "llmctl instance adopt vast:77" in lines[2]
    assert lines[3] == "vast cannot be read"
