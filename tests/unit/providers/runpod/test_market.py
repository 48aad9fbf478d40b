import pytest

from llmctl.core.rental import OfferWish
from llmctl.providers.runpod.market import (
    COMMUNITY,
    SECURE,
    disk_price,
    in_region,
    min_cuda_text,
    offers,
    split_offer_id,
)
from tests.unit.providers.runpod.rows import RTX_4090, gpu_row


def wish(**changes) -> OfferWish:
    return OfferWish(**({"gpus": ("rtx4090",), "disk_gb": 72} | changes))


def test_there_is_one_offer_for_each_data_centre_with_stock():
    found = offers([gpu_row()], wish(), cloud=SECURE)
    assert [(each.region, each.machine, each.stock) for each in found] == [
        ("EU-RO-1", "EU-RO-1", "high"),
        ("US-KS-2", "US-KS-2", "low"),
    ]
    assert all(each.secure and each.gpu == "rtx4090" for each in found)
    assert found[0].gpu_memory_mib == 24 * 1024


def test_the_price_holds_every_card_and_the_disk():
    (first, _) = offers([gpu_row()], wish(gpu_count=2), cloud=SECURE)
    # 2 x $0.69, and 72 GB of $0.10 a month of 720 hours
    assert first.usd_per_hour == 1_380_000 + 10_000
    assert first.stopped_usd_per_hour == 0


def test_a_disk_price_is_rounded_up():
    assert disk_price(60) == 8_334
    assert disk_price(0) == 0
    assert disk_price(72, "0.20") == 20_000


def test_a_card_without_named_data_centres_is_offered_wherever_it_is():
    row = gpu_row(dataCenters=None, availability="MEDIUM")
    (found,) = offers([row], wish(), cloud=COMMUNITY)
    assert (found.region, found.machine, found.stock) == ("", "COMMUNITY", "medium")
    assert not found.secure
    assert found.usd_per_hour == 340_000 + 10_000


def test_what_create_needs_is_in_the_id():
    (found, _) = offers([gpu_row()], wish(min_cuda=12.4), cloud=SECURE)
    assert split_offer_id(found.id) == (SECURE, "EU-RO-1", "12.4", RTX_4090)
    (found, _) = offers([gpu_row()], wish(), cloud=SECURE)
    assert split_offer_id(found.id) == (SECURE, "EU-RO-1", None, RTX_4090)


@pytest.mark.parametrize(
    ("row", "cloud"),
    [
        (gpu_row(id="NVIDIA H200"), SECURE),
        (gpu_row(id="NVIDIA GeForce RTX 4090 D"), SECURE),
        (gpu_row(secure=False), SECURE),
        (gpu_row(community=False), COMMUNITY),
        (gpu_row(price={"secure": 0, "community": 0.3}), SECURE),
        (gpu_row(price={"secure": None}), SECURE),
        (gpu_row(price={}), SECURE),
        (gpu_row(maxCount={"secure": 1}), SECURE),
        (gpu_row(dataCenters=[], availability="NONE"), SECURE),
    ],
)
def test_what_cannot_be_had_is_not_offered(row, cloud):
    assert offers([row], wish(gpu_count=2), cloud=cloud) == []


def test_the_cuda_bound_looks_at_what_is_available():
    assert offers([gpu_row()], wish(min_cuda=12.8), cloud=SECURE) == []
    assert offers([gpu_row()], wish(min_cuda=12.4), cloud=SECURE)[0].cuda == 12.4
    # the catalogue was asked with the bound: a card that does not say its versions fits
    assert offers([gpu_row(cudaVersions=None)], wish(min_cuda=12.8), cloud=SECURE)[0].cuda is None


def test_a_dear_offer_is_returned_for_the_caller_to_name():
    assert offers([gpu_row()], wish(max_usd_per_hour=1), cloud=SECURE)


def test_a_volume_pins_its_data_centre():
    (found,) = offers([gpu_row()], wish(), cloud=SECURE, place="US-KS-2")
    assert found.region == "US-KS-2"
    assert offers([gpu_row()], wish(), cloud=SECURE, place="EUR-IS-1") == []


@pytest.mark.parametrize(
    ("place", "region", "inside"),
    [
        ("EU-RO-1", None, True),
        ("EU-RO-1", "EU-RO-1", True),
        ("EU-RO-1", "eu-ro-1", True),
        ("EU-RO-1", "RO", True),
        ("EU-RO-1", "EU", True),
        ("EUR-IS-1", "EU", True),
        ("EUR-IS-1", "IS", True),
        ("US-KS-2", "US", True),
        ("CA-MTL-1", "CA", True),
        ("US-CA-2", "CA", False),
        ("US-DE-1", "DE", False),
        ("SEA-SG-1", "SE", False),
        ("AP-JP-1", "JP", True),
        ("EU-RO-1", "EU-RO-2", False),
        ("", "RO", False),
        ("", None, True),
    ],
)
def test_regions(place, region, inside):
    assert in_region(place, region) is inside


def test_a_cuda_version_has_two_numbers():
    assert min_cuda_text(12.0) == "12.0"
    assert min_cuda_text(0.0) is None
