"""Whether an instance is still coming up, judged by what its market says and for how long."""

from llmctl.config.schema import WaitConfig
from llmctl.core.errors import LlmctlError, ProviderError
from llmctl.core.rental import Instance, InstanceState

LOST_S = 180.0
"""Hosts that stop answering their market come back within this, or not."""

_TEXTS = {
    InstanceState.PENDING: "waiting for the machine to take it",
    InstanceState.LOADING: "its image is being pulled",
    InstanceState.RUNNING: "it runs; waiting for its address",
    InstanceState.QUEUED: "waiting for a free GPU",
    InstanceState.LOST: "its host does not answer the market",
}


class HostFailed(ProviderError):
    """A machine that will not come up; another may."""

    code = "host_failed"


class Arrival:
    """One instance on its way up. Times are monotonic seconds."""

    def __init__(self, wait: WaitConfig, now: float) -> None:
        self._wait = wait
        self._began = now
        self._seen: Instance | None = None
        self._state_since = now
        self._still_since = now
        self.text = "waiting for the machine"
        """What it is doing, for people."""

    def judge(self, seen: Instance | LlmctlError | None, now: float) -> None:
        """Take note of the latest look; raises ``HostFailed`` when waiting longer is pointless."""
        if seen is None:
            self._judge_missing(now)
        elif isinstance(seen, Instance):
            self._note(seen, now)
            self._judge_state(seen)
        self._judge_time(now)

    def _judge_missing(self, now: float) -> None:
        if self._seen is not None or now - self._began > self._wait.list_lag_s:
            raise HostFailed("the instance has vanished")

    def _note(self, seen: Instance, now: float) -> None:
        before = self._seen
        if before is None or before.state is not seen.state:
            self._state_since = now
        if before is None or (before.state, before.detail) != (seen.state, seen.detail):
            self._still_since = now
        self._seen = seen
        self.text = _TEXTS.get(seen.state, seen.state.value)

    def _judge_state(self, seen: Instance) -> None:
        said = f": {seen.detail}" if seen.detail else ""
        if seen.fatal or seen.state is InstanceState.FAILED:
            raise HostFailed(f"the instance cannot start{said}")
        if seen.state is InstanceState.STOPPED:
            why = "outbid" if seen.spot else "stopped by its market"
            raise HostFailed(f"the instance was {why}{said}")

    def _judge_time(self, now: float) -> None:
        state = self._seen.state if self._seen else InstanceState.PENDING
        wait = self._wait
        limits = {
            InstanceState.PENDING: (wait.schedule_s, "no machine has taken it"),
            InstanceState.QUEUED: (wait.schedule_s, "no GPU came free"),
            InstanceState.LOADING: (wait.image_s, "its image was not pulled"),
            InstanceState.RUNNING: (wait.ssh_s, "it has no address to reach it at"),
            InstanceState.LOST: (LOST_S, "its host did not answer its market"),
        }
        limit, what = limits.get(state, (wait.schedule_s, state.value))
        if now - self._state_since > limit:
            raise HostFailed(f"{what} within {limit:g} s")
        loading = state is InstanceState.LOADING
        if loading and now - self._still_since > wait.image_still_s:
            raise HostFailed(f"its image made no progress for {wait.image_still_s:g} s")
