"""The scorecard works; and the gates that no other test covers at full size are held.

Not run again here: the crash-point matrix (tests/matrix), raw HTTP (tests/integration/proxy), host keys
(tests/integration/ssh, tunnel) and secrets (tests/e2e/rent) are whole in suites of their own, and
``tests/run`` runs the short form of the scorecard with all six gates behind the tests.
"""

import asyncio
import json
from pathlib import Path

import pytest

from benchmarks.scorecard import __main__ as command
from benchmarks.scorecard import card, http, security
from benchmarks.scorecard.card import Figure, Item, Missing, Outcome, Run
from benchmarks.scorecard.faults import clients_that_leave
from benchmarks.scorecard.history import Heard
from benchmarks.scorecard.items import CARD
from benchmarks.scorecard.load import slope

pytestmark = pytest.mark.e2e


def test_the_weights_are_those_that_were_promised():
    assert sum(item.weight for item in CARD) == 100
    assert {item.key for item in CARD if item.gate} == {"M1", "S1", "S2", "S5", "B1", "F1"}
    assert len({item.key for item in CARD}) == len(CARD) == 26


@pytest.mark.parametrize(
    ("figure", "held"),
    [
        (Figure("a", 1.0, "s", 1.0), True),
        (Figure("a", 1.1, "s", 1.0), False),
        (Figure("a", 1.0, "s", 1.0, at_least=True), True),
        (Figure("a", 0.9, "s", 1.0, at_least=True), False),
        (Figure("a", float("nan"), "s", 1.0), False),
    ],
)
def test_a_figure_is_held_within_its_limit(figure, held):
    assert figure.held is held


async def test_what_cannot_be_measured_is_listed_with_its_reason(capsys):
    async def good(_: Run):
        yield Figure("speed", 1.0, "s", 2.0)

    async def bad(_: Run):
        yield Figure("speed", 3.0, "s", 2.0)

    async def absent(_: Run):
        yield Figure("speed", 1.0, "s", 2.0)
        raise Missing("there is no such thing here")

    async def broken(_: Run):
        raise ValueError("oh")
        yield

    items = [Item(name.__name__, 2, "speed", name) for name in (good, bad, absent, broken)]
    outcomes = [await card.measure(item, short=True) for item in items]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["held"] for line in lines] == [True, False, True]
    assert {"name", "value", "unit", "limit", "git", "machine"} <= set(lines[0])
    assert [outcome.points for outcome in outcomes] == [2, 0, 0, 0]
    table = card.table(outcomes)
    assert "speed 3 s, not <= 2" in table
    assert "not measured: there is no such thing here" in table
    assert "it broke: ValueError: oh" in table
    assert table.splitlines()[-1].split()[:3] == ["sum", "8", "2"]


def test_a_stream_is_whole_or_it_is_not():
    whole = Heard(1, numbers=[0, 1, 2], status=200, ends=1)
    assert whole.whole(3)
    for damaged in (
        Heard(1, numbers=[0, 2], status=200, ends=1),
        Heard(1, numbers=[0, 2, 1], status=200, ends=1),
        Heard(1, numbers=[0, 1, 2, 2], status=200, ends=1),
        Heard(1, numbers=[0, 1, 2], status=200, ends=0),
        Heard(1, numbers=[0, 1, 2], status=200, ends=2),
        Heard(1, numbers=[0, 1, 2], status=200, ends=1, damaged=1),
    ):
        assert not damaged.whole(3)


def test_a_slope_is_that_of_the_later_part():
    early = [(float(t), 40.0 + 10 * t) for t in range(10)]
    late = [(float(t), 140.0 + 0.5 * (t - 10)) for t in range(10, 30)]
    assert slope(early + late) == pytest.approx(0.5, abs=0.01)


def test_the_short_form_names_what_it_leaves_out(monkeypatch, capsys):
    async def quick(_: Run):
        yield Figure("speed", 1.0, "s", 2.0)

    items = (Item("A1", 3, "quick", quick), Item("A2", 2, "long", quick, slow=True))
    monkeypatch.setattr(command, "CARD", items)
    monkeypatch.setattr("sys.argv", ["scorecard", "--short"])
    assert command.main() == 0
    said = capsys.readouterr().out
    assert "long: not measured: too long for the short form" in said
    assert said.splitlines()[-1].split()[:3] == ["sum", "5", "3"]


async def test_atheris_leads_where_it_is_installed(tmp_path: Path):
    pytest.importorskip("atheris")
    figures = [figure async for figure in http.streams(Run(short=True, directory=tmp_path))]
    assert "translations led by atheris" in [figure.name for figure in figures]
    assert all(figure.held for figure in figures), figures


@pytest.mark.parametrize(
    ("key", "measure"), [("F1", clients_that_leave), ("S5", security.isolation)]
)
async def test_gates_are_held(tmp_path: Path, key: str, measure):
    item = next(item for item in CARD if item.key == key)
    assert item.measure is measure
    outcome = Outcome(item)
    async with asyncio.timeout(100):
        async for figure in measure(Run(short=True, directory=tmp_path)):
            outcome.figures.append(figure)
    assert outcome.held, card.said(outcome)
