"""What outcomes teach: counted once, by kind and entry, over all proxies."""

from collections import Counter

import pytest

pytest.importorskip("numpy")

from llmctl.semantic.evidence import PER_ENTRY, Outcomes
from llmctl.semantic.records import Placed
from tests.unit.semantic.library import ListJournal, outcome, seal

ENTRY = b"\0" * 32


def outcomes(journal=None, counts=None) -> Outcomes:
    return Outcomes(
        journal or ListJournal(), seal(), counts=Counter() if counts is None else counts
    )


def totals(known: Outcomes, kind: str = "e for local") -> tuple[int, int]:
    tallies = known.evidence(ENTRY, kind).prior.tallies
    return sum(one.wrong for one in tallies), sum(one.total for one in tallies)


def test_an_outcome_counts_for_its_entry_and_its_kind():
    known = outcomes()
    known.note(outcome(same=True))
    known.note(outcome(same=False, entry=b"\1" * 32))
    assert totals(known) == (1, 2)
    seen = known.evidence(ENTRY, "e for local").observations
    assert [(one.similarity, one.same) for one in seen] == [(0.95, True)]


def test_tenants_do_not_learn_from_each_other():
    known = outcomes()
    known.note(outcome(kind="e for alice"))
    assert totals(known, "e for bob") == (0, 0)


def test_what_was_served_teaches_nothing():
    known = outcomes()
    known.note(outcome(same=None))
    assert totals(known) == (0, 0)
    assert known.evidence(ENTRY, "e for local").observations == ()


async def test_other_proxies_learn_it_too_and_nobody_twice():
    journal = ListJournal()
    one, other = outcomes(journal), outcomes(journal)
    one.note(outcome())
    for _ in range(2):
        await one.follow()
        await other.follow()
    assert totals(one) == totals(other) == (0, 1)


async def test_a_copied_row_is_not_another_outcome():
    journal = ListJournal()
    outcomes(journal).note(outcome())
    kind, placed = journal.rows[0]
    journal.rows += [(kind, Placed(str(place), placed.key, placed.value)) for place in (2, 3)]
    reader = outcomes(journal)
    await reader.follow()
    assert totals(reader) == (0, 1)


async def test_a_row_under_another_key_is_counted_as_damaged():
    journal, counts = ListJournal(), Counter()
    outcomes(journal).note(outcome())
    kind, placed = journal.rows[0]
    journal.rows[0] = kind, Placed(placed.position, b"x" * 16, placed.value)
    reader = outcomes(journal, counts)
    await reader.follow()
    assert totals(reader) == (0, 0)
    assert counts["damaged"] == 1


def test_of_one_entry_the_newest_count():
    known = outcomes()
    for number in range(PER_ENTRY + 5):
        known.note(outcome(likeness=number / 100))
    seen = known.evidence(ENTRY, "e for local").observations
    assert len(seen) == PER_ENTRY
    assert seen[-1].similarity == (PER_ENTRY + 4) / 100
