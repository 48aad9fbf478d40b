import json

from llmctl.core.rental import (
    Account,
    Fit,
    Offer,
    Phase,
    ProviderName,
    Rental,
    SshAddress,
    UpPlan,
    UpSpec,
)
from llmctl.render.offers import (
    offers_document,
    offers_text,
    plan_document,
    plan_text,
    rentals_text,
)

OFFER = Offer(
    provider=ProviderName.VAST,
    id="123",
    gpu="rtx4090",
    gpu_name="RTX 4090",
    gpu_memory_mib=24564,
    region="Oslo, NO",
    usd_per_hour=342_100,
    stopped_usd_per_hour=10_000,
    reliability=0.995,
    download_mbps=2500.0,
    seconds_left=7 * 86400.0,
)
SPEC = UpSpec(name="main", providers=(ProviderName.VAST,), ttl_s=7200.0, idle_s=1800.0)
FIT = Fit(
    model="qwen3-coder",
    model_bytes=18_600_000_000,
    num_ctx=65536,
    kv_cache_type="q8_0",
    parallel=2,
    disk_gb=48,
    reasons=("it fits",),
)
PLAN = UpPlan(
    spec=SPEC,
    offer=OFFER,
    alternatives=(OFFER,),
    fit=FIT,
    ready_s=247.0,
    ready_cost=23_000,
    account=Account(credit=25_000_000),
    warnings=("credit is low",),
)


def test_offers_stand_in_one_table():
    bare = Offer(
        provider=ProviderName.RUNPOD,
        id="SECURE/EU",
        gpu="h100-sxm",
        gpu_name="H100 SXM",
        gpu_count=2,
        gpu_memory_mib=81559,
        spot=True,
        usd_per_hour=5_380_000,
    )
    assert offers_text([OFFER, bare]) == (
        "provider     gpu          price     reliable  down        region    left  offer\n"
        "vast         RTX 4090     $0.342/h  99.5%     2,500 Mb/s  Oslo, NO  7 d   123\n"
        "runpod spot  2x H100 SXM  $5.380/h  -         -           -         -     SECURE/EU\n"
    )


def test_money_in_documents_is_decimal_text():
    (offer,) = json.loads(offers_document([OFFER]))
    assert (offer["usd_per_hour"], offer["stopped_usd_per_hour"]) == ("0.3421", "0.0100")
    plan = json.loads(plan_document(PLAN))
    assert plan["offer"]["usd_per_hour"] == "0.3421"
    assert plan["alternatives"][0]["usd_per_hour"] == "0.3421"
    assert plan["ready_usd"] == "0.0230"
    assert plan["account"]["credit_usd"] == "25.0000"
    assert plan["spec"]["max_usd_per_hour"] is None


def test_the_plan_says_price_end_and_time():
    assert plan_text(PLAN) == (
        "machine   RTX 4090 at vast, Oslo, NO\n"
        "offer     123, 1 more if it cannot be had\n"
        "model     qwen3-coder, 18.6 GB\n"
        "context   65,536 tokens of context, KV cache q8_0, 2 at once\n"
        "disk      48 GB\n"
        "price     $0.342/h, $0.010/h while stopped\n"
        "ends      by itself after 2 h (at most $0.68), or after 30 min without a request\n"
        "ready in  about 4:07 for about $0.02\n"
        "credit    $25.00\n"
        "  it fits\n"
        "warning: credit is low\n"
    )


def test_in_a_narrow_terminal_the_words_of_the_plan_wrap_under_their_line():
    lines = plan_text(PLAN, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert "          30 min without a request" in lines


def test_a_machine_one_has_costs_nothing():
    host = SshAddress(host="192.0.2.7", user="me")
    spec = UpSpec(name="box", providers=(ProviderName.HOST,), host=host)
    assert plan_text(UpPlan(spec=spec, offer=None, fit=None)) == (
        "machine  me@192.0.2.7:22\nmodel    chosen once its memory is known\n"
    )


def test_what_is_taken_up_is_named():
    rental = Rental(
        uuid="u",
        name="main",
        provider=ProviderName.VAST,
        label="llmctl/a/u",
        phase=Phase.GUARDED,
        created_at=0.0,
        spec=SPEC,
        instance_id="77",
        usd_per_hour=342_100,
    )
    text = plan_text(UpPlan(spec=SPEC, offer=OFFER, fit=FIT, resumes=rental))
    assert text.startswith("main exists and is guarded; it is taken up there\n")
    assert rentals_text([rental]) == "main  vast 77  guarded  $0.342/h"
