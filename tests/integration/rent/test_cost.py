"""The whole report over real adapters, both emulated markets, real files and a virtual clock."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from llmctl.config.schema import BudgetConfig, Config, CostConfig
from llmctl.core.billing import Bill
from llmctl.core.clock import SystemClock
from llmctl.core.money import MicroUsd
from llmctl.core.rental import Phase, ProviderName
from llmctl.core.reports_cost import CostReport
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.writer import LedgerWriter
from llmctl.ops.cost import Accounts, CostWish, Records
from llmctl.ops.rent.down import down, plan_down
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.power import start, stop
from llmctl.ops.rent.up import up
from tests.integration.rent.test_markets import Rented
from tests.integration.rent.test_markets import rented as rented  # noqa: PLC0414  a fixture

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
TTL_S = 30 * DAY_S


async def nothing(_rental) -> None:
    pass


class Books:
    """A report over what a test rented and asked."""

    def __init__(self, home: Path, rented: Rented) -> None:
        self.ledger = home / "ledger.db"
        self.rented = rented
        self.clock = rented.bed.clock

    async def asked(self, *usages: Usage) -> None:
        writer = LedgerWriter(self.ledger, clock=SystemClock())
        await writer.start()
        for usage in usages:
            writer.append(usage)
        await writer.flush()
        await writer.close()

    async def report(
        self, *, bills=None, config: Config | None = None, patience_s=20.0, **wish
    ) -> CostReport:
        bed = self.rented.bed
        asked = {bed.name: bed.provider.bill} if bills is None else bills
        now = self.clock.now()
        accounts = Accounts(
            CostWish(**({"until": now} | wish)),
            Records(
                ledger=self.ledger,
                rentals=self.rented.store,
                bills=asked,
                patience_s=patience_s,
            ),
            config or Config(),
            now=now,
        )
        found = await accounts.report_with_bills()
        if not accounts.asked:  # what the command does then
            assert accounts.report() == found
        return found


@pytest.fixture
def books(rented: Rented, tmp_path: Path) -> Books:
    return Books(tmp_path, rented)


def a_usage(at: float, **changes) -> Usage:
    usual = {
        "at": at,
        "request_id": "r",
        "tenant": "me",
        "model_asked": "claude-sonnet-5",
        "model_used": "qwen3-coder",
        "backend": "ollama:http://main.localhost:11434",
        "prompt_tokens": 20_000,
        "completion_tokens": 500,
        "cache": CacheOutcome.MISS,
        "first_token_ms": 900.0,
        "total_ms": 10_000.0,
    }
    return Usage(**(usual | changes))


async def lived(rented: Rented) -> None:
    """Three days: up, stopped over night, started, destroyed."""
    world = rented.world
    plan = await plan_up(world, rented.spec(ttl_s=TTL_S))
    rental = (await up(world, plan, nothing)).rental
    rented.bed.clock.advance(26 * HOUR_S)
    await stop(world, rental)
    rented.bed.clock.advance(12 * HOUR_S)
    await start(world, rented.store.get(rental.uuid))
    rented.bed.clock.advance(10 * HOUR_S)
    await down(world, plan_down(rented.store, ["main"]), nothing)
    rented.bed.clock.advance(HOUR_S)


def agrees(report: CostReport) -> None:
    for money in (report.money, *(row.money for row in report.rows)):
        if money is not None and money.billed_usd is not None:
            known = money.metered_usd - money.unbilled_usd + money.unmetered_usd
            assert known + money.difference_usd == money.billed_usd


async def test_metered_agrees_with_the_bill(books: Books):
    await lived(books.rented)
    report = await books.report()
    money, market = report.money, books.rented.bed.market
    assert money.billed_usd == pytest.approx(market.bill(), abs=money.rounding_usd + 1)
    # our record begins when the order was accepted, the GPU's price when the container runs
    assert abs(money.difference_usd) <= money.rounding_usd + money.traffic_usd + 20_000
    assert money.metered_usd == pytest.approx(market.bill(), rel=0.02, abs=60_000)
    assert money.stopped_s == pytest.approx(12 * HOUR_S, abs=120)
    assert money.unbilled_usd <= 1_000
    assert report.spend.usd_per_hour == 0
    agrees(report)


async def test_days_of_the_operator_add_up_to_the_whole(books: Books):
    await lived(books.rented)
    for timezone in ("UTC", "Europe/Berlin", "Asia/Kathmandu"):
        report = await books.report(config=Config(budget=BudgetConfig(timezone=timezone)))
        assert len(report.rows) in (3, 4)
        for field in ("metered_usd", "billed_usd", "unbilled_usd", "difference_usd"):
            parts = [getattr(row.money, field) for row in report.rows]
            assert sum(part for part in parts if part is not None) == getattr(report.money, field)
        agrees(report)


async def test_a_bill_that_lags_is_not_taken_for_a_difference(books: Books):
    books.rented.bed.market.billing.lag_s = 20 * HOUR_S
    await lived(books.rented)
    report = await books.report()
    whole = await books.report(bills={})
    assert report.money.unbilled_usd > 1_000_000
    assert abs(report.money.difference_usd) < 60_000
    assert report.money.spent_usd == pytest.approx(whole.money.metered_usd, abs=60_000)
    agrees(report)


async def test_a_gap_in_the_bill_is_told_apart(books: Books):
    await lived(books.rented)
    bed = books.rented.bed
    (machine,) = bed.market.machines.values()
    size = DAY_S if bed.name is ProviderName.VAST else HOUR_S
    middle = (machine.created_at + 20 * HOUR_S) // size * size
    before = await books.report()
    bed.market.billing.gaps.add((machine.id, middle))
    after = await books.report()
    missing = before.money.billed_usd - after.money.billed_usd
    assert missing > 100_000
    assert after.money.unbilled_usd - before.money.unbilled_usd == pytest.approx(
        missing, abs=60_000
    )
    agrees(after)


async def test_a_refund_is_in_the_bill_and_said(books: Books):
    await lived(books.rented)
    bed = books.rented.bed
    (machine,) = bed.market.machines.values()
    before = await books.report()
    bed.market.billing.refund(machine, 300_000, at=machine.created_at + 5 * HOUR_S)
    after = await books.report()
    assert before.money.billed_usd - after.money.billed_usd == pytest.approx(300_000, abs=1_000)
    assert after.money.difference_usd < -200_000
    if bed.name is ProviderName.VAST:  # RunPod nets it with what the hour cost
        assert after.money.refunded_usd == 300_000
    agrees(after)


async def test_what_others_rent_on_the_account_is_not_in_it(books: Books):
    books.rented.bed.foreign(5)
    await lived(books.rented)
    report = await books.report(group_by="instance")
    assert [row.name.split()[0] for row in report.rows] == ["main"]


async def test_a_market_that_does_not_answer_leaves_the_bill_unknown(books: Books):
    await lived(books.rented)
    operation = {"vast": "charges", "runpod": "billing"}[books.rented.bed.name.value]
    books.rented.bed.market.faults.add(operation, "http_500", times=-1)
    report = await books.report()
    assert report.money.billed_usd is None
    assert report.money.metered_usd > 0
    assert any("billed is unknown" in note for note in report.notes)


async def test_without_a_key_the_bill_is_unknown(books: Books):
    await lived(books.rented)
    report = await books.report(bills={})
    assert report.money.billed_usd is None
    assert f"what {books.rented.bed.name.value} billed is unknown" in report.notes[0]


async def test_a_market_nothing_was_rented_from_is_not_asked(books: Books):
    async def never(_since, _until) -> Bill:
        raise AssertionError("asked")

    report = await books.report(
        bills=dict.fromkeys((ProviderName.VAST, ProviderName.RUNPOD), never)
    )
    assert report.money is None
    assert report.notes == [
        "nothing was rented in this time: what it cost is unknown; "
        "--usd-per-hour gives a price to your own machine"
    ]


async def test_requests_are_of_the_day_and_the_instance_that_answered(books: Books):
    begun = books.clock.now()
    await lived(books.rented)
    await books.asked(
        *(a_usage(begun + HOUR_S) for _ in range(3)),
        a_usage(begun + 47 * HOUR_S),
        a_usage(begun + 2 * HOUR_S, cache=CacheOutcome.HIT, backend="", total_ms=1.0),
        a_usage(begun + 2 * HOUR_S, backend="ollama:http://10.0.0.5:11434", tenant="you"),
        a_usage(begun + 2 * HOUR_S, backend="", status=529, error="overloaded_error"),
    )
    by_day = await books.report(group_by="day")
    assert sum(row.use.requests for row in by_day.rows) == by_day.use.requests == 7
    by_instance = await books.report(group_by="instance")
    misses = {row.name.split(" (")[0]: row.use.misses for row in by_instance.rows}
    assert misses == {"main": 4, "cache": 0, "no engine": 0, "ollama:http://10.0.0.5:11434": 1}
    own = [row.money for row in by_instance.rows if not row.name.startswith("main")]
    assert own == [None, None, None]


@pytest.mark.parametrize("group_by", ["model", "tenant"])
async def test_models_and_tenants_share_the_money_by_engine_time(books: Books, group_by):
    begun = books.clock.now()
    await lived(books.rented)
    await books.asked(
        *(a_usage(begun + HOUR_S) for _ in range(3)),
        a_usage(begun + HOUR_S, tenant="you", model_used="qwen2.5-coder:7b"),
        a_usage(begun + HOUR_S, tenant="idle", model_used="", cache=CacheOutcome.HIT),
    )
    report = await books.report(group_by=group_by)
    first, *rest = [row.money.metered_usd for row in report.rows]
    assert first + sum(rest) == report.money.spent_usd
    assert first == pytest.approx(report.money.spent_usd * 3 / 4, abs=1)
    assert rest.count(0) == 1


async def test_savings_are_against_what_was_asked_for_or_one_model(books: Books):
    begun = books.clock.now()
    await lived(books.rented)
    await books.asked(*(a_usage(begun + HOUR_S + n) for n in range(400)))
    plain = await books.report()
    assert plain.savings.cloud_usd == 400 * 45_000
    opus = await books.report(config=Config(cost=CostConfig(compare="claude-opus-4-8")))
    assert opus.savings.cloud_usd == 400 * 112_500
    assert plain.savings.saved_usd == 18_000_000 - plain.money.spent_usd
    assert plain.break_even.break_even_utilisation == pytest.approx(
        plain.break_even.utilisation * plain.money.spent_usd / 18_000_000
    )


async def test_ones_own_machine_has_the_price_one_gives_it(tmp_path: Path, rented: Rented):
    books = Books(tmp_path / "own", rented)
    begun = books.clock.now()
    await books.asked(a_usage(begun), a_usage(begun + HOUR_S))
    books.clock.advance(10 * HOUR_S)
    unknown = await books.report()
    assert (unknown.money, unknown.unit.usd_per_miss) == (None, None)
    assert unknown.savings.saved_share is None
    known = await books.report(own_usd_per_hour=MicroUsd(120_000), group_by="instance")
    assert known.money.metered_usd == 1_200_000
    assert known.rows[0].name == "this machine"
    assert known.money.billed_usd is None
    assert not rented.store.path.exists()


async def test_an_instance_without_a_price_is_not_free(books: Books):
    await lived(books.rented)
    (rental,) = books.rented.store.all()
    spec = replace(rental.spec, name="odd")
    odd = books.rented.store.begin(spec, rental.provider)
    books.rented.store.advance(odd.uuid, Phase.CREATED, instance_id="77")
    books.clock.advance(HOUR_S)
    report = await books.report()
    assert report.money.unpriced_s == HOUR_S
    assert report.savings.saved_usd is None
    assert report.spend.unpriced == 1
    assert "1.0 h have no known price: more was spent than is shown" in report.notes


async def test_a_slow_market_does_not_keep_the_report(books: Books):
    await lived(books.rented)

    async def slow(_since, _until) -> Bill:
        await asyncio.Event().wait()
        raise AssertionError

    name = books.rented.bed.name
    late = await books.report(bills={name: slow}, patience_s=0.01)
    assert late.notes == [
        f"{name.value} did not show its bill within 0.01 s: what it billed is unknown"
    ]
