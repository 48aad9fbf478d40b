"""What the operator is told about the tier, and what it recommends."""

import pytest

pytest.importorskip("numpy")

from llmctl.semantic.evidence import Outcomes
from llmctl.semantic.records import Placed, entry_row
from llmctl.semantic.report import judge, read_report
from tests.unit.semantic.library import ListJournal, entry, outcome, seal


def report(right: int, wrong: int, *, rate: float = 0.01, others=()):
    seen = [outcome(servable=True, same=True)] * right + [
        outcome(servable=True, same=False)
    ] * wrong
    return judge([*seen, *others], entries=1, unreadable=0, error_rate=rate)


def test_nothing_seen_means_go_on_looking():
    found = report(0, 0)
    assert found.wrong_share is None
    assert (found.wrong_low, found.wrong_high) == (0.0, 1.0)
    assert found.bound_met is None
    assert found.recommendation.startswith("shadow")


def test_enough_right_ones_show_that_the_bound_is_met():
    found = report(400, 0)
    assert found.bound_met is True
    assert found.recommendation.startswith("on")
    assert found.wrong_high < 0.01


def test_many_wrong_ones_say_off():
    found = report(80, 20)
    assert found.bound_met is False
    assert found.recommendation.startswith("off")
    assert found.wrong_share == 0.2


def test_few_right_ones_say_how_many_more_it_takes():
    found = report(100, 0)
    assert found.bound_met is None
    more = int(found.recommendation.partition("some ")[2].split()[0])
    assert report(100 + more, 0).bound_met is True
    assert report(100 + more - 1, 0).bound_met is None


def test_only_what_would_be_served_is_judged():
    others = [outcome(servable=False, same=False)] * 50 + [outcome(servable=True, same=None)] * 7
    found = report(400, 0, others=others)
    assert (found.served, found.compared, found.same) == (7, 450, 400)
    assert (found.would_serve, found.wrong) == (400, 0)
    assert found.bound_met is True


async def test_it_reads_a_journal_and_counts_what_it_cannot_read():
    journal = ListJournal()
    for number in range(3):
        journal.append(entry_row(entry(number), seal()))
    known = Outcomes(journal, seal(), counts={})
    known.note(outcome(servable=True, at=5.0))
    kind, placed = journal.rows[0]
    journal.rows[0] = kind, Placed(placed.position, b"y" * 32, placed.value)
    journal.rows.append((journal.rows[-1][0], Placed("9", *journal.rows[-1][1][1:])))
    found = await read_report(journal, seal(), error_rate=0.01)
    assert (found.entries, found.unreadable, found.compared) == (2, 1, 1)
    assert found.since == 5.0
