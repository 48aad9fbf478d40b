"""What the use cases of renting work with; made once by ``llmctl.renting``, or by a test."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from llmctl.config.schema import Config
from llmctl.core.clock import Clock
from llmctl.core.money import MicroUsd
from llmctl.core.rental import Offer, ProviderName, Rental, Step, StepState
from llmctl.providers.base import Provider
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.host import Host
from llmctl.ssh.watchdog import Guard
from llmctl.state.store import RentalStore

LOCAL = "local"
"""Generation of this machine, which is reached without SSH."""

Sleep = Callable[[float], Awaitable[None]]
Reach = Callable[[SshTarget], Awaitable[Host]]
StartScript = Callable[[Rental, Offer, float], str]
"""Rental, offer and deadline (Unix time) → shell that arms the deadline as the container starts."""
GuardFor = Callable[[Rental, str | None], Guard]
"""Rental and the key of its instance, where it is known → what the watchdog is armed with."""


class World:
    """Markets, record, machines and time. Fakes go in here."""

    def __init__(  # noqa: PLR0913  one argument for each part
        self,
        *,
        providers: Mapping[ProviderName, Provider],
        store: RentalStore,
        reach: Reach,
        public_key: str,
        config: Config,
        clock: Clock,
        sleep: Sleep,
        report: Callable[[Step], None],
        start_script: StartScript,
        guard_for: GuardFor,
    ) -> None:
        self.providers = providers
        self.store = store
        self.reach = reach
        self.public_key = public_key
        self.config = config
        self.clock = clock
        self.sleep = sleep
        self.start_script = start_script
        self.guard_for = guard_for
        self._report = report
        self._began = clock.monotonic()

    def say(
        self,
        name: str,
        state: StepState,
        text: str,
        *,
        spent: MicroUsd = MicroUsd(0),  # noqa: B008  an int
    ) -> None:
        """Report a step, timed from the start of this command."""
        elapsed = self.clock.monotonic() - self._began
        self._report(Step(name=name, state=state, text=text, elapsed_s=elapsed, spent=spent))

    def pass_on(self, step: Step) -> None:
        """Report a step that another room made, timed from the start of this command."""
        elapsed = self.clock.monotonic() - self._began
        self._report(msgspec.structs.replace(step, elapsed_s=elapsed))
