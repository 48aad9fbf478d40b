"""The state machine of a tunnel whose logins fail; those that work need an sshd."""

import asyncio

import pytest

from llmctl.core.errors import HostKeyChanged, ProviderError, SshError
from llmctl.core.rental import SshAddress
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.supervisor import Pace, Tunnel

PACE = Pace(first_s=0.001, longest_s=0.002, wait_s=0.2)
NOWHERE = SshTarget(instance="x", generation="1", addresses=())


class Logins:
    """Fails with one error after the other, the last one for ever."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.tried = 0

    def __call__(self, target: SshTarget) -> object:
        self.tried += 1
        raise self._errors.pop(0) if len(self._errors) > 1 else self._errors[0]


async def locate() -> SshTarget:
    return NOWHERE


REFUSED = SshError("the key is refused", terminal=True)


async def test_a_changed_host_key_is_not_tried_again_and_not_repaired() -> None:
    repairs = []

    async def repair() -> None:
        repairs.append(1)

    logins = Logins(HostKeyChanged("another key"))
    tunnel = Tunnel("x", locate, logins, repair=repair, pace=PACE)
    await tunnel.start()
    with pytest.raises(HostKeyChanged):
        await tunnel.until_up()
    assert logins.tried == 1
    assert repairs == []
    assert tunnel.status().given_up
    assert tunnel.status().state is TunnelState.DOWN
    assert tunnel.status().detail == "another key"
    await tunnel.stop()


async def test_a_repair_that_fails_leaves_the_refusal() -> None:
    async def repair() -> None:
        raise ProviderError("the market does not answer")

    tunnel = Tunnel("x", locate, Logins(REFUSED), repair=repair, pace=PACE)
    await tunnel.start()
    with pytest.raises(SshError, match="the key is refused"):
        await tunnel.until_up()
    assert tunnel.failure is REFUSED
    await tunnel.stop()


async def test_one_repair_is_tried_between_two_connections() -> None:
    repairs = []
    addresses = (SshAddress(host="127.0.0.1", port=1),)

    async def repair() -> None:
        repairs.append(1)

    async def somewhere() -> SshTarget:
        if repairs:
            raise REFUSED  # the second login; a knock would come before a real one
        return SshTarget(instance="x", generation="1", addresses=addresses)

    tunnel = Tunnel("x", somewhere, Logins(REFUSED), repair=repair, pace=PACE)
    await tunnel.start()
    with pytest.raises(SshError, match="the key is refused"):
        await tunnel.until_up()
    assert repairs == [1]
    await tunnel.stop()


async def test_whoever_waits_is_told_why_in_the_end() -> None:
    async def lost() -> SshTarget:
        raise ProviderError("the market does not answer")

    tunnel = Tunnel("my-gpu", lost, Logins(REFUSED), pace=PACE)
    await tunnel.start()
    with pytest.raises(SshError, match=r"my-gpu is not up within 0.2 s: the market does not"):
        await tunnel.until_up()
    assert tunnel.failure is None
    await tunnel.stop()


async def test_stopping_ends_those_who_wait_and_it_can_be_started_again() -> None:
    async def for_ever() -> SshTarget:
        await asyncio.Event().wait()
        raise AssertionError

    tunnel = Tunnel("x", for_ever, Logins(REFUSED), pace=Pace(wait_s=3600))
    await tunnel.start()
    waiting = asyncio.gather(tunnel.until_up(), return_exceptions=True)
    await asyncio.sleep(0)
    await tunnel.stop()
    (error,) = await waiting
    assert str(error) == "the tunnel to x was stopped"
    assert not tunnel.status().given_up
    await tunnel.start()
    assert tunnel.failure is None
    assert tunnel.status().state is TunnelState.CONNECTING
    await tunnel.stop()


async def test_listeners_hear_of_each_state_until_they_leave() -> None:
    seen: list[TunnelStatus] = []
    tunnel = Tunnel("x", locate, Logins(REFUSED), pace=PACE)
    leave = tunnel.subscribe(seen.append)
    await tunnel.start()
    with pytest.raises(SshError):
        await tunnel.until_up()
    assert [status.state for status in seen][-1] is TunnelState.DOWN
    assert TunnelState.CONNECTING in {status.state for status in seen}
    heard = len(seen)
    leave()
    await tunnel.stop()
    assert len(seen) == heard
