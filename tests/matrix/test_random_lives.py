"""Random lives of three instances among 100 of somebody else, against a model of what must be."""

import contextlib
import logging
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.rental import Phase
from tests.matrix.bed import SPEC, TTL_S, Bed
from tests.matrix.laptop import Blow, Killed, Point

NAMES = st.sampled_from(("main", "second", "third"))
UP_POINTS = st.sampled_from([each for each in Point if not each.of_down])
DOWN_POINTS = st.sampled_from([each for each in Point if each.of_down])
BLOWS = st.sampled_from([each for each in Blow if each is not Blow.NEVER])
FAULTS = st.sampled_from(
    (
        ("create", "http_500_after", 1),
        ("create", "hang_after", 1),
        ("create", "http_500", 1),
        ("create", "offer_gone", 2),
        ("create", "429", 1),
        ("create", "no_funds", 1),
        ("list", "empty", 1),
        ("list", "null", 3),
        ("list", "html", 30),
        ("page", "http_500", 4),
        ("get", "http_500", 4),
        ("destroy", "lies", 1),
        ("destroy", "lies", 40),
        ("destroy", "gone", 2),
        ("destroy", "http_500", 7),
        ("start", "gpu_taken", 1),
    )
)


class Lives(RuleBasedStateMachine):
    """Commands, deaths, faults and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self.home = tempfile.TemporaryDirectory()
        self.bed = Bed(Path(self.home.name), foreign=100, machines=60)
        self.expected: dict[str, Phase | None] = {}
        """What a command has promised of a name; not there where nothing is known."""

    # -- commands --------------------------------------------------------------------------------

    @rule(name=NAMES)
    def up(self, name) -> None:
        """It succeeds whenever nothing is wrong, and rents at most one machine."""
        self.expected.pop(name, None)
        calm = self.calm(name)
        try:
            self.bed.up(replace(SPEC, name=name))
        except LlmctlError:
            assert not calm
        else:
            self.expected[name] = Phase.READY

    @rule(name=NAMES, at=UP_POINTS, blow=BLOWS)
    def up_struck(self, name, at, blow) -> None:
        self.expected.pop(name, None)
        with contextlib.suppress(LlmctlError, Killed):
            self.bed.up(replace(SPEC, name=name), at=at, blow=blow)

    @rule(name=NAMES)
    def down(self, name) -> None:
        self.expected.pop(name, None)
        calm = self.calm()
        try:
            self.bed.down(name)
        except NotFound:
            assert not any(each.name == name for each in self.bed.rentals())
        except LlmctlError:
            assert not calm
        else:
            self.expected[name] = None

    @rule(name=NAMES, at=DOWN_POINTS, blow=BLOWS)
    def down_struck(self, name, at, blow) -> None:
        self.expected.pop(name, None)
        with contextlib.suppress(LlmctlError, Killed):
            self.bed.down(name, at=at, blow=blow)

    @rule()
    def down_all(self) -> None:
        self.expected.clear()
        calm = self.calm()
        try:
            self.bed.down(everything=True)
        except LlmctlError:
            assert not calm
        else:
            assert self.bed.live() <= set(), "down --all has left something"

    @rule(name=NAMES)
    def stop(self, name) -> None:
        self.expected.pop(name, None)
        with contextlib.suppress(LlmctlError):
            self.bed.stop(name)
            self.expected[name] = Phase.STOPPED

    @rule(name=NAMES)
    def start(self, name) -> None:
        self.expected.pop(name, None)
        with contextlib.suppress(LlmctlError):
            self.bed.start(name)
            self.expected[name] = Phase.READY

    @rule()
    def status(self) -> None:
        """A comparison without problems leaves nothing in doubt."""
        report = self.bed.status()
        if not report.reconciled.problems:
            self.bed.check_agreement()

    # -- the world -------------------------------------------------------------------------------

    @rule(fault=FAULTS)
    def fault(self, fault) -> None:
        operation, kind, times = fault
        self.bed.market.faults.add(operation, kind, times=times)

    @rule()
    def heal(self) -> None:
        self.bed.market.faults.clear()

    @rule(lag=st.sampled_from((0.0, 20.0, 60.0)))
    def lag(self, lag) -> None:
        self.bed.market.list_lag_s = lag

    @rule(data=st.data())
    def outbid(self, data) -> None:
        live = sorted(self.bed.live())
        if live:
            self.bed.provider.outbid.add(data.draw(st.sampled_from(live)))

    @rule(seconds=st.sampled_from((1.0, 30.0, 300.0, TTL_S + 60)))
    def time_passes(self, seconds) -> None:
        self.bed.clock.advance(seconds)
        if seconds > TTL_S:
            self.expected = {
                name: phase for name, phase in self.expected.items() if phase is not Phase.READY
            }

    # -- what must hold --------------------------------------------------------------------------

    def calm(self, name: str | None = None) -> bool:
        """Whether nothing is wrong that a command might meet."""
        faults = any(self.bed.market.faults.waiting(each) for each in OPERATIONS)
        return not faults and (name is None or self.fresh(name))

    def fresh(self, name: str) -> bool:
        return all(each.name != name for each in self.bed.rentals())

    @invariant()
    def foreign_machines_are_never_touched(self) -> None:
        self.bed.check_foreign()

    @invariant()
    def every_machine_is_on_record(self) -> None:
        """By its id, or as a create that may have made it: nothing runs out of sight."""
        rentals = self.bed.rentals()
        labels = {each.label for each in rentals if each.phase.live}
        for machine in self.bed.market.ours():
            assert machine.label in labels, f"{machine.id} is out of sight"
        used = [machine.label for machine in self.bed.market.ours()]
        assert len(used) == len(set(used)), "two machines under one label"

    @invariant()
    def every_machine_has_an_end(self) -> None:
        for machine in self.bed.market.ours():
            assert not machine.running or machine.deadline <= self.bed.clock.now() + TTL_S + 60

    @invariant()
    def promises_hold(self) -> None:
        phases = {each.name: each.phase for each in self.bed.rentals()}
        for name, phase in self.expected.items():
            assert phases.get(name) in (phase, *ENDED_SINCE), (name, phase, phases)

    def teardown(self) -> None:
        self.bed.market.faults.clear()
        self.bed.market.list_lag_s = 0.0
        self.bed.down(everything=True)
        self.bed.check_agreement()
        self.bed.check_quiet()
        self.bed.check_foreign()
        self.bed.close()
        self.home.cleanup()


OPERATIONS = ("account", "offers", "create", "list", "page", "get", "destroy", "start", "stop")
ENDED_SINCE = (None, Phase.DESTROYING, Phase.STARTING, Phase.CREATED)

TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
