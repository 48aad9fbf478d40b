"""When money is read, and what is said of it."""

from msgspec.structs import replace

from llmctl.core.errors import LlmctlError
from llmctl.core.money import MicroUsd
from llmctl.proxy.ui.state import SPEND_FRESH_S, Money, Purse, _money
from tests.clocks import ManualClock
from tests.unit.proxy.scraped import SPEND


class Record:
    """A record of rentals that counts who reads it."""

    def __init__(self) -> None:
        self.read = 0
        self.problem = ""

    def __call__(self):
        self.read += 1
        if self.problem:
            raise LlmctlError(self.problem)
        return replace(SPEND, today_usd=MicroUsd(self.read))


async def test_money_is_read_now_and_then_and_only_when_somebody_looks():
    clock, record = ManualClock(), Record()
    purse = Purse(record, clock)
    assert record.read == 0
    seen = []
    for passed in (0.0, SPEND_FRESH_S - 1, 1.0, 0.0):
        clock.advance(passed)
        spend, problem = await purse.look()
        seen.append(spend.today_usd)
        assert problem == ""
    assert seen == [1, 1, 2, 2]


async def test_a_record_that_cannot_be_read_is_not_zero():
    clock, record = ManualClock(), Record()
    purse = Purse(record, clock)
    await purse.look()
    record.problem = "the record is damaged"
    clock.advance(SPEND_FRESH_S)
    assert await purse.look() == (None, "the record is damaged")
    record.problem = ""
    clock.advance(SPEND_FRESH_S)
    spend, problem = await purse.look()
    assert (spend.today_usd, problem) == (3, "")


async def test_where_nothing_is_rented_from_nothing_is_read():
    assert await Purse(None, ManualClock()).look() == (None, "")


def test_money_is_decimal_text_and_says_when_it_is_not_all():
    assert _money(SPEND) == Money(
        today_usd="1.2500",
        month_usd="20.0000",
        usd_per_hour="0.3400",
        timezone="UTC",
        complete=True,
    )
    assert not _money(replace(SPEND, unpriced=1)).complete
    assert not _money(replace(SPEND, unpriced_s=60.0)).complete
