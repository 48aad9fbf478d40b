import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from llmctl.config.schema import BudgetConfig, Config
from llmctl.core.errors import ConfigError, LeftoverInstance
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import Phase, ProviderName
from llmctl.ops.budget import OverBudget, lasts_s, outlook, read_spend, refuse, spend_of, warnings
from llmctl.ops.budget_watch import BudgetWatch, enforce
from llmctl.ops.cost_meter import Stretch
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.power import start, stop
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import Stage, a_spec

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600


def at(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def a_stretch(begins, ends, price="0.60", **changes):
    usual = {
        "key": ("vast", "1"),
        "uuid": "u",
        "name": "main",
        "begins": begins,
        "ends": ends,
        "usd_per_hour": None if price is None else micro_usd(price),
    }
    return Stretch(**(usual | changes))


def a_budget(**changes):
    return BudgetConfig(**({"usd_per_day": "5", "timezone": "Europe/Berlin"} | changes))


def test_today_and_this_month_are_those_of_the_operator():
    now = at("2026-11-23T02:00", BERLIN)  # 01:00 UTC
    night = a_stretch(at("2026-11-22T23:00", BERLIN), now, open=True)
    october = a_stretch(at("2026-10-31T23:00", BERLIN), at("2026-11-01T01:00", BERLIN))
    found = spend_of([october, night], a_budget(usd_per_month="20"), now)
    assert found.today_usd == 1_200_000
    assert found.month_usd == 600_000 + 1_800_000
    assert found.usd_per_hour == 600_000
    day, month = found.limits
    assert (day.spent_usd, day.budget_usd, day.ends) == (
        1_200_000, 5_000_000, at("2026-11-24", BERLIN),
    )  # fmt: skip
    assert (month.spent_usd, month.left_usd) == (2_400_000, 17_600_000)


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-23", 24)]
)
def test_a_day_of_the_budget_is_as_long_as_the_day(day, hours):
    now = at(f"{day}T23:59:59", BERLIN) + 1
    found = spend_of([a_stretch(now - 48 * HOUR, now)], a_budget(), now - 0.001)
    assert found.limits[0].spent_usd == pytest.approx(hours * 600_000, abs=2)


def test_the_month_goes_on_at_the_pace_of_a_week_or_as_it_runs_now():
    now = at("2026-11-21")
    ran = [a_stretch(now - d * 24 * HOUR, now - d * 24 * HOUR + 10 * HOUR) for d in range(1, 15)]
    found = spend_of(ran, BudgetConfig(), now)
    assert found.month_usd == 14 * 6_000_000
    assert found.projected_month_usd == pytest.approx(24 * 6_000_000, abs=10)
    assert found.left_running_month_usd == found.month_usd
    running = [*ran, a_stretch(now - 1, now, open=True)]
    assert spend_of(running, BudgetConfig(), now).left_running_month_usd == pytest.approx(
        14 * 6_000_000 + 240 * 600_000, abs=300
    )


def test_a_first_hour_is_not_taken_for_a_pace():
    now = at("2026-11-21")
    found = spend_of([a_stretch(now - HOUR, now)], BudgetConfig(), now)
    assert found.projected_month_usd == pytest.approx(600_000 + 10 * 600_000, abs=10)


def spent(share, *, now=at("2026-11-23T12:00"), **changes):
    """A budget of $6 a day, used up to a share at 60 cents an hour until now."""
    stretch = a_stretch(now - share * 10 * HOUR, now, open=True)
    return spend_of([stretch], BudgetConfig(usd_per_day="6", **changes), now)


def test_below_eighty_per_cent_nothing_is_said():
    assert warnings(spent(0.79)) == []


def test_from_eighty_per_cent_on_it_is_said_with_when_it_is_used_up():
    assert warnings(spent(0.8)) == [
        "80 % of the day's budget is used: $4.80 of $6.00; it begins anew at 2026-11-24 00:00 UTC, "
        "and what runs has used it up at 2026-11-23 14:00 UTC"
    ]


def test_at_a_hundred_per_cent_nothing_new_is_rented():
    refuse(spent(0.99))
    with pytest.raises(OverBudget) as refused:
        refuse(spent(1.0))
    assert refused.value.message == (
        "the day's budget is used up: $6.00 of $6.00; it begins anew at 2026-11-24 00:00 UTC; "
        "nothing new is rented"
    )
    assert refused.value.hint == (
        "wait until then, or raise it: llmctl config set budget.usd_per_day 12.00"
    )


def test_a_price_nobody_told_is_said_and_not_taken_for_nothing():
    now = at("2026-11-23T12:00")
    found = spend_of([a_stretch(now - HOUR, now, None, open=True)], a_budget(), now)
    assert (found.unpriced, found.limits[0].unpriced, found.unpriced_s) == (1, True, HOUR)
    assert warnings(found) == [
        "1 of what is rented has no known price: the budget counts it as nothing, and it is not"
    ]


def test_without_a_budget_nothing_is_said():
    now = at("2026-11-23T12:00")
    found = spend_of([a_stretch(now - 99 * HOUR, now, None, open=True)], BudgetConfig(), now)
    assert warnings(found) == []
    refuse(found)


def test_how_long_a_budget_lasts_with_one_more():
    spend = spent(0.5)  # $3 left, 12 h of the day
    assert lasts_s(spend, micro_usd("0.40")) == 3 * HOUR
    assert outlook(spend, micro_usd("0.40"), 8 * HOUR) == [
        "at $1.000/h in all the budget is used up at 2026-11-23 15:00 UTC"
    ]
    assert outlook(spend, micro_usd("0.40"), 2 * HOUR) == []
    idle = replace(spend, usd_per_hour=MicroUsd(0))
    assert lasts_s(idle, micro_usd("0.20")) is None  # a new day begins before


def test_a_budget_that_begins_anew_may_be_used_up_by_the_same_machine():
    spend = spent(0.0, now=at("2026-11-23T22:00"))  # $6 a day, two hours of this one
    idle = replace(spend, usd_per_hour=MicroUsd(0))
    assert lasts_s(idle, micro_usd("1")) == 8 * HOUR
    assert lasts_s(idle, micro_usd("0.25")) is None  # a day costs no more than its budget
    assert lasts_s(idle, MicroUsd(0)) is None


def test_looking_makes_no_record(tmp_path):
    stage = Stage(tmp_path)
    found = read_spend(stage.store, a_budget(), stage.clock.now())
    assert found.today_usd == 0
    assert not stage.store.path.exists()


def test_an_unknown_zone_is_said(tmp_path):
    stage = Stage(tmp_path)
    with pytest.raises(ConfigError, match="the time zone cannot be 'Mars'"):
        read_spend(stage.store, a_budget(timezone="Mars"), stage.clock.now())


# -- in the life of an instance ------------------------------------------------------------------


def staged(tmp_path, **budget) -> Stage:
    """36 cents an hour; the clock stands at 08:00 UTC."""
    return Stage(tmp_path, config=Config(budget=BudgetConfig(**budget)))


async def rented(stage, name="main", **changes):
    plan = await plan_up(stage.world, a_spec(name=name, **changes))
    return (await up(stage.world, plan, stage.release)).rental


async def test_up_is_refused_before_any_market_is_asked_for_offers(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08")
    await rented(stage, ttl_s=24.0 * HOUR)
    stage.clock.advance(3 * HOUR)
    before = len(stage.market.calls)
    with pytest.raises(OverBudget, match=r"the day's budget is used up: \$1.08 of \$1.08"):
        await plan_up(stage.world, a_spec(name="second"))
    assert stage.market.calls[before:] == []
    assert len(stage.market.machines) == 1  # what runs goes on
    stage.store.close()


async def test_what_exists_is_taken_up_though_the_budget_is_used_up(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08")
    await rented(stage, ttl_s=24.0 * HOUR)
    stage.clock.advance(3 * HOUR)
    plan = await plan_up(stage.world, a_spec())
    assert plan.resumes is not None
    stage.store.close()


async def test_a_new_day_is_a_new_budget(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08", timezone="Asia/Tokyo")
    rental = await rented(stage, ttl_s=24.0 * HOUR)
    stage.clock.advance(3 * HOUR)
    stage.store.advance(rental.uuid, Phase.GONE)
    spend = read_spend(stage.store, stage.world.config.budget, stage.clock.now())
    assert spend.limits[0].share == pytest.approx(1.0, abs=0.001)
    stage.clock.advance(spend.limits[0].ends - stage.clock.now())
    plan = await plan_up(stage.world, a_spec(name="second"))
    assert plan.offer is not None
    stage.store.close()


async def test_the_plan_says_when_the_budget_will_be_used_up(tmp_path):
    stage = staged(tmp_path, usd_per_day="0.72")
    plan = await plan_up(stage.world, a_spec())
    assert plan.warnings == ("at $0.360/h in all the budget is used up at 2027-01-15 10:00 UTC",)
    assert plan.spec.ttl_s == 8 * HOUR
    stage.store.close()


async def test_where_instances_are_ended_the_machine_knows_when(tmp_path):
    stage = staged(tmp_path, usd_per_day="0.72", at_limit="stop")
    plan = await plan_up(stage.world, a_spec())
    assert plan.spec.ttl_s == 2 * HOUR
    assert plan.warnings[-1].endswith("2027-01-15 10:00 UTC; the machine ends itself then")
    stage.store.close()


async def test_what_would_be_ended_at_once_is_not_rented(tmp_path):
    stage = staged(tmp_path, usd_per_day="0.10", at_limit="stop")
    with pytest.raises(OverBudget, match="in less than 30 minutes; nothing is rented"):
        await plan_up(stage.world, a_spec())
    stage.store.close()


async def test_starting_again_is_refused_like_renting(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08")
    rental = await stop(stage.world, await rented(stage, ttl_s=24.0 * HOUR))
    stage.clock.advance(2 * HOUR)
    for _ in range(3):
        current = stage.store.get(rental.uuid)
        stage.store.advance(rental.uuid, Phase.READY)
        stage.clock.advance(HOUR)
        stage.store.advance(rental.uuid, Phase.STOPPED)
    with pytest.raises(OverBudget):
        await start(stage.world, current)
    assert "start" not in stage.market.calls
    stage.store.close()


async def test_at_the_limit_instances_are_ended_and_that_is_said_first(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08", at_limit="stop")
    await rented(stage, "main")
    said = []
    assert await enforce(stage.world, stage.release, said.append) == []
    stage.clock.advance(3 * HOUR)
    (gone,) = await enforce(stage.world, stage.release, said.append)
    assert gone.rental.name == "main"
    assert stage.market.machines == {}
    assert said == [
        "the day's budget is used up: $1.08 of $1.08; it begins anew at 2027-01-16 00:00 UTC; "
        "budget.at_limit is stop: ending main"
    ]
    assert await enforce(stage.world, stage.release, said.append) == []
    stage.store.close()


async def test_stopped_instances_are_ended_too(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08", at_limit="stop")
    rental = await rented(stage)
    stage.clock.advance(3 * HOUR)
    await stop(stage.world, stage.store.get(rental.uuid))
    await enforce(stage.world, stage.release, lambda _text: None)
    assert stage.market.machines == {}
    stage.store.close()


async def test_refuse_ends_nothing(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08")
    await rented(stage, ttl_s=24.0 * HOUR)
    stage.clock.advance(30 * HOUR)
    assert await enforce(stage.world, stage.release, pytest.fail) == []
    assert len(stage.market.machines) == 1
    stage.store.close()


async def test_what_will_not_go_is_told(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08", at_limit="stop")
    await rented(stage)
    stage.clock.advance(3 * HOUR)
    stage.market.fails["destroy"] = LeftoverInstance("it will not go")
    with pytest.raises(LeftoverInstance):
        await enforce(stage.world, stage.release, lambda _text: None)
    stage.store.close()


class Minutes:
    """Time of a watch: each look is a minute later, and the last one ends it."""

    def __init__(self, clock, count):
        self.clock = clock
        self.left = count

    async def sleep(self, seconds):
        self.clock.advance(seconds)
        self.left -= 1
        if not self.left:
            raise asyncio.CancelledError


async def watched(stage, minutes, look=None):
    said = []
    budget = stage.world.config.budget

    async def act(say):
        return await enforce(stage.world, stage.release, say)

    watch = BudgetWatch(
        look=look or (lambda: read_spend(stage.store, budget, stage.clock.now())),
        act=act,
        sleep=Minutes(stage.clock, minutes).sleep,
        say=said.append,
        alarm=said.append,
    )
    with pytest.raises(asyncio.CancelledError):
        await watch.run()
    return said


async def test_a_long_process_says_each_change_once_and_ends_what_has_to_end(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08", at_limit="stop")
    await rented(stage)
    said = await watched(stage, minutes=300)
    assert [text.partition(":")[0] for text in said] == [
        "80 % of the day's budget is used",
        "the day's budget is used up",
        "the day's budget is used up",
        "main is gone",
    ]
    assert said[2].endswith("budget.at_limit is stop: ending main")
    assert stage.market.machines == {}
    stage.store.close()


async def test_a_long_process_only_says_it_where_nothing_is_to_be_ended(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08")
    await rented(stage, ttl_s=24.0 * HOUR)
    said = await watched(stage, minutes=300)
    assert len(said) == 2
    assert len(stage.market.machines) == 1
    stage.store.close()


async def test_a_watch_that_cannot_look_says_so_once_and_goes_on(tmp_path):
    stage = staged(tmp_path, usd_per_day="1.08")
    looks = []

    def look():
        looks.append(1)
        raise ConfigError("no such zone")

    said = await watched(stage, minutes=3, look=look)
    assert len(looks) == 3
    assert said == ["the budget is not kept: no such zone"]
    stage.store.close()


async def test_a_watch_ends_with_its_block(tmp_path):
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look():
        loop.call_soon_threadsafe(looked.set)
        return spend_of([], BudgetConfig(), 0.0)

    async def act(_say):
        return []

    async with BudgetWatch(look=look, act=act).beside():
        await looked.wait()
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "budget"] == []


def test_paid_providers_alone_cost(tmp_path):
    stage = Stage(tmp_path)
    rental = stage.store.begin(a_spec(providers=(ProviderName.LOCAL,)), ProviderName.LOCAL)
    stage.store.advance(rental.uuid, Phase.READY, instance_id="x", usd_per_hour=MicroUsd(9))
    assert read_spend(stage.store, a_budget(), stage.clock.now()).usd_per_hour == 0
    stage.store.close()
