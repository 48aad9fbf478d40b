from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.money import MicroUsd, cost
from llmctl.core.rental import Phase, ProviderName
from llmctl.core.reports_cost import Money
from llmctl.ops.cost_meter import Stretch, add, read_stretches
from tests.unit.ops.rent.stage import Stage, a_spec, an_offer

START = 1_795_000_000.0
KEY = ("vast", "7")


def a_stretch(**changes) -> Stretch:
    usual = {
        "key": KEY,
        "uuid": "u",
        "name": "main",
        "begins": START,
        "ends": START + 7200,
        "usd_per_hour": MicroUsd(600_000),
    }
    return Stretch(**(usual | changes))


def test_what_is_inside_counts():
    inside = a_stretch().within(START + 3600, START + 9e9)
    assert inside == Money(metered_usd=600_000, running_usd=600_000, running_s=3600.0)
    assert a_stretch().within(START - 50, START) == Money()


def test_stopped_time_is_told_apart():
    found = a_stretch(stopped=True).within(START, START + 3600)
    assert (found.stopped_usd, found.running_usd, found.stopped_s) == (600_000, 0, 3600.0)


def test_an_unknown_price_is_time_without_money_and_not_free():
    found = a_stretch(usd_per_hour=None).within(START, START + 3600)
    assert (found.metered_usd, found.unpriced_s, found.running_s) == (0, 3600.0, 3600.0)


def test_traffic_belongs_to_its_moment():
    moved = a_stretch(ends=START, usd_per_hour=None, traffic=MicroUsd(50))
    assert moved.within(START, START + 1) == Money(metered_usd=50, traffic_usd=50)
    assert moved.within(START - 1, START) == Money()
    assert moved.within(START, START) == Money()


prices = st.integers(0, 10**8).map(MicroUsd)
lengths = st.floats(0.001, 400 * 86_400)
cuts = st.lists(st.floats(0, 1), max_size=20)


@given(price=prices, length=lengths, cuts=cuts, stopped=st.booleans())
def test_parts_add_up_to_the_whole_however_it_is_cut(price, length, cuts, stopped):
    stretch = a_stretch(ends=START + length, usd_per_hour=price, stopped=stopped)
    edges = [START - 5, *sorted(START + length * cut for cut in cuts), START + length + 5]
    parts = add(stretch.within(*pair) for pair in pairwise(edges))
    assert parts.metered_usd == cost(price, stretch.ends - stretch.begins)
    assert parts.metered_usd == parts.running_usd + parts.stopped_usd


def test_every_interval_on_record_is_a_stretch_of_its_instance(tmp_path):
    stage = Stage(tmp_path)
    store, clock = stage.store, stage.clock
    rental = store.begin(a_spec(model="qwen3-coder"), ProviderName.VAST)
    begun = clock.now()
    price = {"usd_per_hour": 400_000, "stopped_usd_per_hour": 20_000}
    store.advance(rental.uuid, Phase.CREATED, instance_id="1", offer=an_offer(), **price)
    clock.advance(100)
    # its machine failed; the next one costs the same
    store.advance(rental.uuid, Phase.INTENT, instance_id=None)
    clock.advance(50)
    offer = an_offer(usd_per_gb_down=MicroUsd(2_000))
    store.advance(rental.uuid, Phase.CREATED, instance_id="2", offer=offer, **price)
    clock.advance(100)
    store.advance(rental.uuid, Phase.PULLED, model="qwen3-coder")
    clock.advance(100)
    store.advance(rental.uuid, Phase.STOPPED)
    clock.advance(100)
    found = read_stretches(store, clock.now())
    times = [(e.key[1], e.begins - begun, e.ends - begun, e.stopped, e.open) for e in found]
    assert times == [
        ("1", 0, 100, False, False),
        ("2", 150, 350, False, False),
        ("2", 350, 450, True, True),
        ("2", 250, 250, False, False),
    ]
    # image, engine and an 18.6 GB model at 0.2 cents a gigabyte
    assert found[-1].traffic == 53_200
    store.close()


def test_own_machines_are_not_metered(tmp_path):
    stage = Stage(tmp_path)
    spec = a_spec(providers=(ProviderName.LOCAL,))
    rental = stage.store.begin(spec, ProviderName.LOCAL)
    stage.store.advance(rental.uuid, Phase.CREATED, instance_id="1", usd_per_hour=7)
    assert read_stretches(stage.store, stage.clock.now() + 99) == []
    stage.store.close()
