"""The crash-point matrix: wherever llmctl dies, whatever strikes it, however the market behaves.

13 points x 7 blows x 10 behaviours = 910 cases in virtual time. In each, one later command brings
record and market together, a second ``up`` rents nothing more, and a laptop that never returns
costs no more than the time to live and a minute.
"""

import contextlib
import itertools
import logging
from enum import StrEnum

import pytest

from llmctl.core.errors import LeftoverInstance, LlmctlError, NotFound, ProviderError
from llmctl.core.rental import Phase
from tests.matrix.bed import FOREIGN, SPEC, TTL_S, Bed
from tests.matrix.laptop import Blow, Killed, Point


class Behaviour(StrEnum):
    """What the market does."""

    NORMAL = "normal"
    ERROR_500 = "500 although created"
    TIMEOUT = "timeout although created"
    LAG = "list lags 60 s"
    UNREADABLE = "list unreadable"
    PAGE_2 = "page 2 holds ours"
    TOO_MANY = "429"
    LIES = "destroy says ok but keeps it"
    GONE = "destroy answers 404"
    DEARER = "price changed, offer gone"


LATER = ("status", "down", "up")
CASES = tuple(itertools.product(Point, Blow, Behaviour))
ALWAYS = {
    Behaviour.ERROR_500: (("create", "http_500_after", -1),),
    Behaviour.TIMEOUT: (("create", "hang_after", -1),),
    Behaviour.LIES: (("destroy", "lies", -1),),
    Behaviour.GONE: (("destroy", "gone", 2),),
}
"""Faults that are there from the start of the command that is struck."""
FROM_THE_BLOW = {
    Behaviour.UNREADABLE: tuple(("list", kind, 1) for kind in ("empty", "null", "html"))
    + (("list", "old_schema", -1),),
    Behaviour.PAGE_2: (("page", "http_500", 2),),
    Behaviour.TOO_MANY: tuple((each, "429", 2) for each in ("list", "get", "destroy")),
}


def test_the_matrix_is_whole():
    assert len(CASES) == 13 * 7 * 10 == 910
    later = {(later_of(*case), case[1]) for case in CASES}
    assert later == set(itertools.product(LATER, Blow))


@pytest.mark.parametrize("blow", Blow, ids=lambda blow: blow.name.lower())
@pytest.mark.parametrize("point", Point, ids=lambda point: point.name)
@pytest.mark.parametrize("behaviour", Behaviour, ids=lambda each: each.name.lower())
def test_no_money_runs_out_of_sight(tmp_path, point, blow, behaviour):
    case = Case(tmp_path, point, blow, behaviour)
    with contextlib.closing(case.bed):
        case.play()


def later_of(point: Point, blow: Blow, behaviour: Behaviour) -> str:
    """Which command comes later: all three are used with every blow."""
    places = [
        list(kind).index(each)
        for kind, each in zip((Point, Blow, Behaviour), (point, blow, behaviour), strict=True)
    ]
    return LATER[sum(places) % len(LATER)]


class Case:
    """One cell of the matrix."""

    def __init__(self, home, point: Point, blow: Blow, behaviour: Behaviour) -> None:
        self.point, self.blow, self.behaviour = point, blow, behaviour
        # the market says more than a test needs to hear
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self.bed = Bed(home, foreign=FOREIGN if behaviour is Behaviour.PAGE_2 else 3)

    def play(self) -> None:
        self._strike()
        if self.blow is Blow.NEVER:
            self._never_returns()
        else:
            self._later()
            self._again()
        self.bed.check_foreign()

    # -- the command that is struck --------------------------------------------------------------

    def _strike(self) -> None:
        bed = self.bed
        if self.point.of_down:
            bed.up()
        self._begin_faults(ALWAYS)
        if self.behaviour is Behaviour.LAG:
            bed.market.list_lag_s = 60.0
        if self.behaviour is Behaviour.DEARER:
            bed.provider.surcharge = 50_000
            bed.market.faults.add("create", "offer_gone")
        if self.behaviour is Behaviour.TOO_MANY and self.point in (Point.P0, Point.P1, Point.P2):
            bed.market.faults.add("create", "429")
        struck = []

        def on_blow() -> None:
            struck.append(bed.clock.now())
            self._begin_faults(FROM_THE_BLOW)

        run = bed.down if self.point.of_down else bed.up
        with contextlib.suppress(Killed, LlmctlError):
            run(at=self.point, blow=self.blow, on_blow=on_blow)
        assert struck, f"{self.point} was never reached"
        if self._cleans_up:
            assert bed.live() == set()

    @property
    def _cleans_up(self) -> bool:
        """Whether ``up`` lived long enough to end what it had made, and could."""
        graceful = self.blow in (Blow.TERM, Blow.INT, Blow.HUP, Blow.FULL)
        ready = self.point is Point.P9 and self.blow is Blow.FULL
        return (
            graceful
            and not ready
            and not self.point.of_down
            and self.behaviour is not Behaviour.LIES
        )

    def _begin_faults(self, faults) -> None:
        for operation, kind, times in faults.get(self.behaviour, ()):
            self.bed.market.faults.add(operation, kind, times=times)

    # -- the laptop never returns ----------------------------------------------------------------

    def _never_returns(self) -> None:
        bed = self.bed
        made = [each for each in bed.market.machines.values() if not each.foreign]
        assert len(made) <= 1
        assert bool(made) == (self.point not in (Point.P0, Point.P1) and not self._refused)
        bed.clock.advance(TTL_S + 60)
        for machine in made:
            bed.market.settle()
            assert machine.metered_s(bed.clock.now()) <= TTL_S + 60
        bed.check_quiet()

    @property
    def _refused(self) -> bool:
        """Whether the create that was struck made nothing."""
        return self.point is Point.P2 and self.behaviour in (Behaviour.TOO_MANY, Behaviour.DEARER)

    # -- one later command -----------------------------------------------------------------------

    def _later(self) -> None:
        if self.behaviour is Behaviour.UNREADABLE:
            self._while_unreadable()
        later = later_of(self.point, self.blow, self.behaviour)
        getattr(self, f"_{later}")()
        if self.behaviour is Behaviour.LIES:
            self._while_it_lies()
        self.bed.check_agreement()
        assert len(self.bed.live()) <= 1

    def _while_unreadable(self) -> None:
        """What cannot be read is neither empty nor a reason to rent."""
        bed = self.bed
        before, creates, records = bed.live(), bed.creates(), bed.rentals()
        with pytest.raises(LlmctlError):
            bed.up()
        report = bed.status()
        assert report.reconciled.problems
        assert bed.rentals() == records
        assert (bed.live(), bed.creates()) == (before, creates)
        bed.market.faults.clear()

    def _while_it_lies(self) -> None:
        """What was to be destroyed stays on record as that; an honest market ends it."""
        bed = self.bed
        doomed = [each for each in bed.rentals() if each.phase is Phase.DESTROYING]
        assert {each.instance_id for each in doomed} <= bed.live()
        bed.market.faults.clear()
        bed.status()
        assert not {each.instance_id for each in doomed} & bed.live()

    def _status(self) -> None:
        report = self.bed.status()
        lying = self.behaviour is Behaviour.LIES
        assert all(isinstance(each, LeftoverInstance) for each in report.reconciled.problems)
        assert lying or not report.reconciled.problems

    def _down(self) -> None:
        bed = self.bed
        if self.behaviour is Behaviour.LIES and bed.live():
            with pytest.raises(LeftoverInstance) as raised:
                bed.down(everything=True)
            assert next(iter(bed.live())) in raised.value.message
            assert [each.phase for each in bed.rentals()] == [Phase.DESTROYING]
        else:
            bed.down(everything=True)
            assert bed.live() == set()

    def _up(self) -> None:
        bed = self.bed
        lying = self.behaviour is Behaviour.LIES and bed.rentals()
        lying = lying and bed.rentals()[0].phase is Phase.DESTROYING
        vanished = any(
            each.instance_id not in (None, *bed.live()) and each.phase is not Phase.DESTROYING
            for each in bed.rentals()
        )
        refused = self.behaviour is Behaviour.TOO_MANY and not bed.creates()
        if lying:
            with pytest.raises(ProviderError, match="may still be running"):
                bed.up()
        elif vanished:
            # at another price than was agreed to nothing is rented unasked
            with pytest.raises(NotFound, match="has ended by itself"):
                bed.up()
        elif refused:
            with pytest.raises(ProviderError, match="too many"):
                bed.up()
        else:
            assert bed.up().rental.phase is Phase.READY
            assert len(bed.live()) == 1

    # -- the same intent once more ---------------------------------------------------------------

    def _again(self) -> None:
        bed = self.bed
        bed.market.faults.clear()
        bed.up()
        before, creates = bed.live(), bed.creates()
        assert len(before) == 1
        assert bed.up().rental.phase is Phase.READY
        assert (bed.live(), bed.creates()) == (before, creates)
        bed.down()
        bed.check_agreement()
        bed.check_quiet()
