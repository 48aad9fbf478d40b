"""A tunnel that holds: one SSH link after the other, kept up without anybody's help.

down → connecting → up → suspect → down. Tried again for ever, with back-off, unless the machine
shows another host key than the pinned one or refuses ours: that is told, and not tried again.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from llmctl.core.errors import HostKeyChanged, LlmctlError, SshError
from llmctl.core.tasks import Tasks
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ssh.backoff import Backoff
from llmctl.ssh.channel import Channel, Sink
from llmctl.ssh.connect import Connection, SshTarget, hang_up
from llmctl.ssh.dial import in_thread, knock
from llmctl.ssh.heartbeat import INTERVAL_S, LIMIT_S
from llmctl.ssh.link import EngineRefused, Link
from llmctl.ssh.probe import engine_trouble
from llmctl.ssh.stream import ChannelTransport

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
AWAITED_S = 0.25
"""Longest pause between two tries while somebody waits."""

Locate = Callable[[], Awaitable[SshTarget]]
"""Where the machine is now: ports change when it restarts. Asked before every connection."""
Login = Callable[[SshTarget], Connection]
"""Blocking; ``ssh.connect.connect`` with key and pins filled in."""
Repair = Callable[[], Awaitable[None]]
"""Puts our key on the machine again: some providers rewrite ``authorized_keys`` at a restart."""
Listener = Callable[[TunnelStatus], None]

P = TypeVar("P", bound=asyncio.Protocol)


class Pace(Struct, frozen=True, kw_only=True):
    """All times of a tunnel, in seconds."""

    keepalive_s: float = INTERVAL_S
    limit_s: float = LIMIT_S
    """Silence after a keepalive that means death."""
    first_s: float = 0.2
    longest_s: float = 10.0
    """Bounds of the pause between two tries."""
    gate_s: float = 10.0
    """A connection that lasted so long was a success: the next pause is the first again."""
    wait_s: float = 10.0
    """How long ``open`` waits for the tunnel."""
    probe_s: float = 15.0
    """Between two looks at the engine through the tunnel."""


DEFAULT_PACE = Pace()


class Tunnel:
    """Connections to one port of one machine. ``start`` to ``stop`` belong to one event loop."""

    def __init__(
        self,
        name: str,
        locate: Locate,
        login: Login,
        *,
        port: int = 11434,
        repair: Repair | None = None,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        self.name = name
        self.port = port
        self._locate = locate
        self._login = login
        self._repair = repair
        self._pace = pace
        self._backoff = Backoff(first_s=pace.first_s, longest_s=pace.longest_s, gate_s=pace.gate_s)
        self._tasks = Tasks()
        self._state = TunnelState.DOWN
        self._detail = "not started"
        self._engine_trouble = ""
        self._terminal: SshError | None = None
        self._repaired = False
        self._link: Link | None = None
        self._lost: asyncio.Future[SshError] | None = None
        self._spare: Channel | None = None
        self._sparing = False
        self._since = 0.0
        self._connections = 0
        self._earlier = (0, 0)
        self._where = ""
        self._waiting = 0
        self._wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._listeners: list[Listener] = []

    @property
    def failure(self) -> SshError | None:
        """Why it gave up; None while it goes on."""
        return self._terminal

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect; does not wait for it."""
        self._terminal, self._repaired = None, False
        self._set(TunnelState.CONNECTING)
        self._tasks.start(self._run(), name=f"tunnel {self.name}")

    async def stop(self) -> None:
        """End it: channels break, and nothing of it is left. May be started again."""
        self._terminal = SshError(f"the tunnel to {self.name} was stopped")
        await self._tasks.close()
        if self._link is not None:
            await self._drop(self._link, "it was stopped")
        self._set(TunnelState.DOWN, "stopped")

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` in the loop at each change of state; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def status(self) -> TunnelStatus:
        """Describe it."""
        link = self._link
        received, sent = self._earlier
        if link is not None:
            received, sent = received + link.received_bytes, sent + link.sent_bytes
        return TunnelStatus(
            name=self.name,
            state=self._state,
            where=self._where,
            detail=self._detail or self._engine_trouble,
            given_up=self._terminal is not None and self._terminal.terminal,
            uptime_s=time.monotonic() - self._since if link is not None else 0.0,
            connections=self._connections,
            round_trip_ms=None if link is None else link.round_trip_ms,
            received_bytes=received,
            sent_bytes=sent,
            channels=0 if link is None else link.channels,
        )

    async def until_up(self, within_s: float | None = None) -> None:
        """Return once it is up; raises ``SshError`` when that cannot be, or not in time."""
        await self._up(self._pace.wait_s if within_s is None else within_s)

    # -- channels --------------------------------------------------------------------------------

    async def connect(self, factory: Callable[[], P]) -> tuple[ChannelTransport, P]:
        """Open a connection to the port, as ``loop.create_connection`` does.

        Waits for the tunnel up to ``Pace.wait_s``. Raises ``SshError``; ``EngineRefused`` where
        the tunnel is up and nothing listens on the port.
        """
        transport = ChannelTransport(asyncio.get_running_loop(), self._where or self.name)
        channel = await self.open(transport)
        protocol = factory()
        transport.begin(channel, protocol)
        return transport, protocol

    async def open(self, sink: Sink) -> Channel:
        """Open a channel to the port for ``sink``; waits and raises as ``connect`` does."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._pace.wait_s
        while True:
            link = await self._up(deadline - loop.time())
            channel = self._take_spare(sink)
            if channel is None:
                channel = await self._try_open(link, sink, deadline - loop.time())
            if channel is not None:
                self._tasks.start(self._keep_spare(link), name=f"spare channel {self.name}")
                return channel

    def _take_spare(self, sink: Sink) -> Channel | None:
        spare, self._spare = self._spare, None
        if spare is None or spare.attach(sink):
            return spare
        spare.abort()
        return None

    async def _try_open(self, link: Link, sink: Sink, within_s: float) -> Channel | None:
        """Return a channel; None where the link died meanwhile: the next may be there in time."""
        try:
            return await self._open(link, sink, within_s)
        except SshError as error:
            if link.alive or isinstance(error, EngineRefused):
                raise
            return None

    async def _open(self, link: Link, sink: Sink | None, within_s: float) -> Channel:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()

        def opened(error: SshError | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(_settle, answer, error)

        channel = link.open(LOOPBACK, self.port, sink=sink, opened=opened)
        try:
            async with asyncio.timeout(within_s):
                await answer
        except TimeoutError:
            channel.abort()
            raise SshError(
                f"{link.where} did not open a channel within {self._pace.wait_s:g} s"
            ) from None
        except asyncio.CancelledError:
            channel.abort()
            raise
        return channel

    async def _keep_spare(self, link: Link) -> None:
        """Have a channel ready: opening one costs a round trip."""
        if self._sparing or self._spare is not None or link is not self._link:
            return
        self._sparing = True
        try:
            channel = await self._open(link, None, self._pace.wait_s)
        except SshError:
            return
        finally:
            self._sparing = False
        if link is self._link:
            self._spare = channel
        else:
            channel.abort()

    async def _up(self, within_s: float) -> Link:
        self._waiting += 1
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                while self._link is None or not self._link.alive:
                    if self._terminal is not None:
                        # one error for many: each raise would add to its traceback
                        raise self._terminal.with_traceback(None)
                    self._wanted.set()
                    await self._changed.wait()
                return self._link
        except TimeoutError:
            waited = f"not up within {self._pace.wait_s:g} s"
            reason = self._detail or self._state.value
            raise SshError(f"the tunnel to {self.name} is {waited}: {reason}") from None
        finally:
            self._waiting -= 1

    # -- the state machine -----------------------------------------------------------------------

    async def _run(self) -> None:
        knock_first = False
        while self._terminal is None:
            try:
                link = await self._connect(knock_first=knock_first)
            except LlmctlError as failure:
                await self._failed(failure)
            else:
                lost = await self._stay(link)
                self._set(TunnelState.DOWN, lost.message)
            knock_first = True
            if self._terminal is None:
                await self._pause()

    async def _connect(self, *, knock_first: bool) -> Link:
        self._set(TunnelState.CONNECTING, self._detail)
        target = await self._locate()
        if knock_first:
            # A login that waits in a dead network would not notice that it is back.
            await knock(target.addresses)
        loop = asyncio.get_running_loop()
        connection = await in_thread(
            lambda: self._login(target), undo=lambda late: hang_up(late.transport)
        )
        lost: asyncio.Future[SshError] = loop.create_future()
        link = Link(
            connection,
            changed=lambda: _post(loop, self._look),
            ended=lambda error: _post(loop, _settle_result, lost, error),
            keepalive_s=self._pace.keepalive_s,
            limit_s=self._pace.limit_s,
        )
        link.start()
        self._lost = lost
        return link

    async def _stay(self, link: Link) -> SshError:
        """Serve from the link until it ends; returns why."""
        assert self._lost is not None
        self._link, self._where, self._since = link, link.where, time.monotonic()
        self._connections += 1
        self._repaired = False
        self._set(TunnelState.UP)
        probe = self._tasks.start(self._probe(link), name=f"probe {self.name}")
        try:
            error = await self._lost
        finally:
            probe.cancel()
        self._backoff.lasted(time.monotonic() - self._since)
        await self._drop(link, error.message)
        return error

    async def _drop(self, link: Link, reason: str) -> None:
        self._link = self._spare = None
        received, sent = self._earlier
        self._earlier = received + link.received_bytes, sent + link.sent_bytes
        link.cut(reason)
        await in_thread(link.join, undo=lambda _: None)

    async def _failed(self, error: LlmctlError) -> None:
        log.info("the tunnel to %s cannot be made: %s", self.name, error.message)
        if isinstance(error, SshError) and error.terminal and not await self._mended(error):
            self._terminal = error
        self._set(TunnelState.DOWN, error.message)

    async def _mended(self, error: SshError) -> bool:
        """Let our key be put there again, once, where it was refused."""
        if self._repair is None or self._repaired or isinstance(error, HostKeyChanged):
            return False
        self._repaired = True
        try:
            await self._repair()
        except LlmctlError as failure:
            log.warning("the tunnel's key cannot be installed again: %s", failure.message)
            return False
        return True

    async def _pause(self) -> None:
        """Wait for the next try; not for long while somebody waits."""
        delay = self._backoff.next_s()
        self._wanted.clear()
        await asyncio.sleep(min(delay, AWAITED_S))
        if delay > AWAITED_S and not self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay - AWAITED_S):
                    await self._wanted.wait()

    def _look(self) -> None:
        """Say whether the other end is late."""
        if self._link is not None and self._state in (TunnelState.UP, TunnelState.SUSPECT):
            late = self._link.suspect
            self._set(TunnelState.SUSPECT if late else TunnelState.UP)

    def _set(self, state: TunnelState, detail: str = "") -> None:
        self._state, self._detail = state, detail
        self._changed.set()
        self._changed = asyncio.Event()
        status = self.status()
        for listener in list(self._listeners):
            listener(status)

    # -- the way behind it -----------------------------------------------------------------------

    async def _probe(self, link: Link) -> None:
        """Ask the engine through the tunnel, now and then: a keepalive only shows that sshd lives.

        The link stays whatever the engine says: a new one would lead to the same port.
        """
        while link.alive:
            trouble = await engine_trouble(self.connect, f"port {self.port} of {self._where}")
            if trouble != self._engine_trouble:
                self._engine_trouble = trouble
                self._set(self._state, self._detail)
            await self._keep_spare(link)
            await asyncio.sleep(self._pace.probe_s)


def _settle(future: asyncio.Future[None], error: SshError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _settle_result(future: asyncio.Future[SshError], error: SshError) -> None:
    if not future.done():
        future.set_result(error)


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is gone
        loop.call_soon_threadsafe(call, *args)
