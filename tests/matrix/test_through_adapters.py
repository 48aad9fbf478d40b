"""A slice of the crash-point matrix through the real adapters and packages, over HTTP."""

import contextlib
import itertools
import logging

import pytest

from tests.matrix.bed import FOREIGN
from tests.matrix.laptop import Blow, Point
from tests.matrix.over_http import BEDS
from tests.matrix.test_crash_points import Behaviour, Case

EVERY_POINT = tuple((point, Blow.KILL, Behaviour.NORMAL) for point in Point)
EVERY_BEHAVIOUR = tuple(
    (point, Blow.KILL, behaviour)
    for point, behaviour in itertools.product((Point.P3, Point.P11), Behaviour)
)
EVERY_BLOW = tuple(
    (point, blow, Behaviour.NORMAL)
    for point, blow in itertools.product((Point.P2, Point.P8, Point.P12), Blow)
)
SLICE = tuple(dict.fromkeys(EVERY_POINT + EVERY_BEHAVIOUR + EVERY_BLOW))


class WiredCase(Case):
    """A cell of the matrix whose market is behind a wire."""

    def __init__(self, bed, point: Point, blow: Blow, behaviour: Behaviour) -> None:
        self.point, self.blow, self.behaviour = point, blow, behaviour
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self.bed = bed


@pytest.mark.parametrize(
    ("point", "blow", "behaviour"), SLICE, ids=lambda each: getattr(each, "name", "").lower()
)
@pytest.mark.parametrize("market", BEDS)
def test_no_money_runs_out_of_sight(tmp_path, market, point, blow, behaviour):
    foreign = FOREIGN if behaviour is Behaviour.PAGE_2 else 3
    with BEDS[market](tmp_path, foreign=foreign) as bed, contextlib.closing(bed):
        WiredCase(bed, point, blow, behaviour).play()


def test_the_slice_has_every_point_blow_and_behaviour():
    points, blows, behaviours = (set(each) for each in zip(*SLICE, strict=True))
    assert (points, blows, behaviours) == (set(Point), set(Blow), set(Behaviour))
