"""metered - unbilled + unmetered + difference = billed, whatever the bill looks like."""

from datetime import date
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from llmctl.core.billing import Charge
from llmctl.core.money import MicroUsd
from llmctl.core.rental import ProviderName
from llmctl.ops.cost_days import Day
from llmctl.ops.cost_meter import Stretch, add
from llmctl.ops.cost_reconcile import reconcile, split

DAY_S = 86_400
START = 20_800 * DAY_S
DAYS = 6
RANGES = [
    Day(
        date=date.fromordinal(719_163 + 20_800 + n),
        begins=float(START + n * DAY_S),
        ends=float(START + (n + 1) * DAY_S),
    )
    for n in range(DAYS)
]
KEYS = [("vast", "1"), ("vast", "2"), ("runpod", "pod1")]


def a_stretch(begins=0.0, ends=DAY_S, key=KEYS[0], price=600_000, **changes) -> Stretch:
    usual = {
        "key": key,
        "uuid": "u" + key[1],
        "name": "main",
        "begins": START + begins,
        "ends": START + ends,
        "usd_per_hour": None if price is None else MicroUsd(price),
    }
    return Stretch(**(usual | changes))


def a_charge(begins=0.0, ends=DAY_S, amount=14_400_000, key=KEYS[0], **changes) -> Charge:
    usual = {
        "provider": ProviderName(key[0]),
        "instance_id": key[1],
        "begins": START + begins,
        "ends": START + ends,
        "amount": MicroUsd(amount),
    }
    return Charge(**(usual | changes))


def whole(stretches, charges, **more):
    return add(reconcile(stretches, charges, RANGES, **more).cells.values())


def test_an_exact_bill_has_no_difference():
    found = whole([a_stretch()], [a_charge()])
    assert (found.metered_usd, found.billed_usd, found.difference_usd) == (
        14_400_000,
        14_400_000,
        0,
    )
    assert (found.unbilled_usd, found.unmetered_usd) == (0, 0)


def test_without_a_line_the_bill_is_unknown_and_not_zero():
    found = whole([a_stretch()], [])
    assert found.billed_usd is None
    assert found.difference_usd is None
    assert found.unbilled_usd == found.metered_usd == found.spent_usd == 14_400_000


def test_what_the_bill_does_not_cover_yet_is_no_difference():
    found = whole([a_stretch()], [a_charge(ends=6 * 3600, amount=3_600_000)])
    assert (found.unbilled_usd, found.difference_usd) == (10_800_000, 0)
    assert found.spent_usd == 14_400_000


def test_a_gap_in_the_middle_is_not_billed_either():
    hours = [(0, 8), (16, 24)]
    lines = [a_charge(b * 3600, e * 3600, 4_800_000) for b, e in hours]
    found = whole([a_stretch()], lines)
    assert (found.unbilled_usd, found.difference_usd) == (4_800_000, 0)


def test_a_missing_day_is_unknown_on_that_day():
    stretch = a_stretch(ends=3 * DAY_S)
    lines = [a_charge(0, DAY_S), a_charge(2 * DAY_S, 3 * DAY_S)]
    cells = reconcile([stretch], lines, RANGES).cells
    assert cells[KEYS[0], 1].billed_usd is None
    assert cells[KEYS[0], 0].difference_usd == cells[KEYS[0], 2].difference_usd == 0


def test_more_and_less_than_metered_are_differences():
    assert whole([a_stretch()], [a_charge(amount=15_000_000)]).difference_usd == 600_000
    assert whole([a_stretch()], [a_charge(amount=14_000_000)]).difference_usd == -400_000


def test_a_refund_lowers_the_bill_and_is_told():
    refund = a_charge(DAY_S / 2, DAY_S / 2, amount=-400_000)
    found = whole([a_stretch()], [a_charge(), refund])
    assert (found.billed_usd, found.refunded_usd, found.difference_usd) == (
        14_000_000,
        400_000,
        -400_000,
    )


def test_time_without_a_price_is_unmetered_and_no_difference():
    found = whole([a_stretch(price=None)], [a_charge()])
    assert (found.metered_usd, found.unmetered_usd, found.difference_usd) == (0, 14_400_000, 0)
    assert found.unpriced_s == DAY_S


def test_an_instance_of_ours_that_is_not_on_record_is_unmetered():
    label = "llmctl/0a1b2c3d/"
    found = reconcile([], [a_charge(label=label + "ff")], RANGES, label=label)
    assert found.names == {KEYS[0]: ""}
    assert add(found.cells.values()).unmetered_usd == 14_400_000


def test_what_is_somebody_elses_is_left_out():
    lines = [a_charge(key=KEYS[1]), a_charge(key=KEYS[1], label="llmctl/deadbeef/1")]
    assert reconcile([], lines, RANGES, label="llmctl/0a1b2c3d/").cells == {}
    assert reconcile([], lines, RANGES).cells == {}


def test_a_line_over_several_days_is_split_by_what_was_metered_in_each():
    running, stopped = a_stretch(ends=DAY_S), a_stretch(DAY_S, 2 * DAY_S, price=60_000)
    line = a_charge(0, 2 * DAY_S, amount=15_840_001)
    cells = reconcile([running, stopped], [line], RANGES).cells
    assert [cells[KEYS[0], n].billed_usd for n in (0, 1)] == [14_400_001, 1_440_000]


def test_a_bucket_that_is_longer_than_the_life_is_all_for_the_life():
    stretch = a_stretch(DAY_S - 600, DAY_S)
    line = a_charge(DAY_S - 3600, DAY_S + 3600, amount=100_000)
    cells = reconcile([stretch], [line], RANGES).cells
    assert cells[KEYS[0], 0].billed_usd == 100_000
    assert cells[KEYS[0], 0].difference_usd == 0
    assert cells.get((KEYS[0], 1)) is None


def test_what_of_a_line_lies_before_the_range_stays_there():
    stretch = a_stretch(-DAY_S, DAY_S)
    line = a_charge(-DAY_S, DAY_S, amount=28_800_000)
    assert whole([stretch], [line]).billed_usd == 14_400_000


def test_an_hour_that_is_not_over_covers_what_has_passed():
    stretch = a_stretch(ends=1800, open=True)
    line = a_charge(0, 3600, amount=300_000)
    found = whole([stretch], [line], now=START + 1800.0)
    assert (found.unbilled_usd, found.difference_usd) == (0, 0)


def test_rounding_is_told_apart_from_what_it_cannot_explain():
    found = whole([a_stretch()], [a_charge(amount=14_400_400, rounding=MicroUsd(500))])
    assert (found.difference_usd, found.rounding_usd) == (400, 500)


spans = st.tuples(st.floats(-1, 7), st.floats(0, 3)).map(
    lambda pair: (pair[0] * DAY_S, (pair[0] + pair[1]) * DAY_S)
)
keys = st.sampled_from(KEYS)
stretches = st.builds(
    lambda span, key, price, stopped: a_stretch(*span, key=key, price=price, stopped=stopped),
    spans,
    keys,
    st.none() | st.integers(0, 5_000_000),
    st.booleans(),
)
charges = st.builds(
    lambda span, key, amount, rounding: a_charge(
        *span, key=key, amount=amount, rounding=MicroUsd(rounding)
    ),
    spans,
    keys,
    st.integers(-10_000_000, 50_000_000),
    st.sampled_from([0, 1, 500]),
)


@given(st.lists(stretches, max_size=8), st.lists(charges, max_size=12))
def test_metered_and_unknown_and_difference_are_what_is_billed(metered, bill):
    found = reconcile(metered, bill, RANGES)
    cells = list(found.cells.values())
    for money in [*cells, add(cells)]:
        unknown = money.unmetered_usd - money.unbilled_usd
        assert money.metered_usd >= money.unbilled_usd >= 0
        assert money.unmetered_usd >= 0
        if money.billed_usd is None:
            # nothing is known of the bill, and nothing is made up
            assert (money.unbilled_usd, money.unmetered_usd) == (money.metered_usd, 0)
            assert money.difference_usd is None
        else:
            assert money.metered_usd + unknown + money.difference_usd == money.billed_usd


@given(st.lists(stretches, max_size=6), st.lists(charges, max_size=10))
def test_no_micro_dollar_of_a_bill_is_lost_or_made(metered, bill):
    everything = [
        Day(date=date.min, begins=START - 99.0 * DAY_S, ends=RANGES[0].begins),
        *RANGES,
        Day(date=date.max, begins=RANGES[-1].ends, ends=START + 99.0 * DAY_S),
    ]
    ours = {each.key for each in metered}
    expected = [c.amount for c in bill if (c.provider.value, c.instance_id) in ours]
    found = add(reconcile(metered, bill, everything).cells.values())
    assert found.billed_usd == (sum(expected) if expected else None)


@given(st.lists(stretches, max_size=6))
def test_a_bill_made_from_the_meter_agrees_with_it(metered):
    """One line for each stretch and day, as markets do: nothing is unknown, nothing differs."""
    metered = [
        replace(each, key=("vast", str(number)), usd_per_hour=each.usd_per_hour or MicroUsd(7))
        for number, each in enumerate(metered)
    ]
    bill = [
        Charge(
            provider=ProviderName.VAST,
            instance_id=each.key[1],
            begins=max(each.begins, day.begins),
            ends=min(each.ends, day.ends),
            amount=each.within(day.begins, day.ends).metered_usd,
        )
        for each in metered
        for day in RANGES
        if max(each.begins, day.begins) < min(each.ends, day.ends)
    ]
    found = add(reconcile(metered, bill, RANGES).cells.values())
    assert found.unbilled_usd == found.unmetered_usd == 0
    assert found.difference_usd in (0, None)
    assert (found.billed_usd or 0) == found.metered_usd


@given(
    amount=st.integers(-(10**12), 10**12),
    weights=st.lists(st.fractions(0, 1000), min_size=1, max_size=30),
)
def test_parts_of_a_split_add_up_and_are_fair(amount, weights):
    parts = split(amount, weights)
    if not sum(weights):
        assert parts == [0] * len(weights)
        return
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(amount) * weight / sum(weights)
        assert abs(part - exact) < 1
        assert part == 0 or weight > 0
