"""One generation, any number of listeners.

The generation belongs to none of its clients: it ends when the engine has finished or the last
listener has left. Somebody who joins late is told what was said so far and then hears the rest
live. A slow listener never slows another; when all of them are slow, the engine is read slower.
"""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from llmctl.backend.pool import Answering
from llmctl.core.clock import Clock
from llmctl.core.tasks import Tasks
from llmctl.protocol import sse
from llmctl.protocol.anthropic import Message
from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.protocol.events import Event
from llmctl.protocol.message import Replay
from llmctl.protocol.sse import Frame
from llmctl.protocol.stream import Composer
from llmctl.protocol.tokens import Measure
from llmctl.proxy.silence import SILENCE

BACKLOG_BYTES = 128 * 1024
"""Unsent bytes of the fastest listener at which the engine is no longer read."""
LAG_BYTES = 8 * 1024 * 1024
"""Unsent bytes at which a listener that others do not wait for is given up."""

Deliver = Callable[[list[Frame]], bool]
"""Sends frames at once if that takes no waiting; tells whether it did."""


class Listener:
    """One client's view of a generation."""

    def __init__(self, generation: "Generation", *, frames: bool) -> None:
        self._generation = generation
        self._pending: list[Frame] = []
        self._waiter: asyncio.Future[None] | None = None
        self._deliver: Deliver | None = None
        self._writing = False
        self._lost = False
        self.wants_frames = frames
        self.backlog = 0

    def deliver_with(self, deliver: "Deliver") -> None:
        """Hand frames straight to ``deliver`` while nothing waits: that saves waking a task."""
        self._deliver = deliver

    def push(self, frames: list[Frame], size: int) -> None:
        """Take what was just said."""
        idle = self._deliver is not None and not (self._pending or self._writing)
        if idle and self._deliver is not None and self._deliver(frames):
            return
        if self._lost or self.backlog > LAG_BYTES:
            # The backlog stays as it is: whoever is given up counts as slow.
            self._lost, self._pending = True, []
            return
        self._pending += frames
        self.backlog += size
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> list[Frame] | None:
        """Return everything not yet taken, waiting for some; None at the end.

        Raises ConnectionResetError where the listener fell too far behind the others.
        """
        self._writing = False
        while not self._pending:
            if self._lost:
                raise ConnectionResetError("the client is too slow for its stream")
            if self._generation.ended:
                return None
            await self._wait()
        return self.take()

    def take(self) -> list[Frame]:
        """Return everything not yet taken, which may be nothing."""
        self._writing = True
        frames, self._pending, self.backlog = self._pending, [], 0
        self._generation.drained()
        return frames

    async def first(self, within_s: float) -> bool:
        """Wait until something was said or the end has come; False if not in ``within_s``."""
        if self._pending or self._generation.ended:
            return True
        try:
            async with asyncio.timeout(within_s):
                await self._wait()
        except TimeoutError:
            return False
        return True

    async def end(self) -> None:
        """Wait for the end of the generation."""
        while not self._generation.ended:
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Expected(Struct, frozen=True, kw_only=True):
    """What ``message_start`` says before the engine has said anything."""

    model_name: str
    measure: Callable[[bool], Measure]
    """Estimates the prompt when somebody needs to know; in a hurry, if it is given True."""


class Generation:
    """An answer being made."""

    def __init__(
        self,
        composer: Composer,
        open_engine: Callable[[], Awaitable[Answering]],
        expected: Expected,
        *,
        clock: Clock,
        ended: "Ended",
        ping_s: float = SILENCE.ping_s,
    ) -> None:
        self.model_name = expected.model_name
        """The one that is expected to answer, then the one that does."""
        self._expected = expected
        self._measure: Measure | None = None
        self._composer = composer
        self._open_engine = open_engine
        self._clock = clock
        self._on_end = ended
        self._ping_s = ping_s
        self._listeners: set[Listener] = set()
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last_said = clock.monotonic()
        self._last_content = self._last_said
        self._heartbeat: asyncio.TimerHandle | None = None
        self.ended = False
        self.abandoned = False
        """Its last listener has left: nobody may join any more."""
        self.begun = False
        """Whether anything at all was said, signs of life included."""
        self.first_content_at: float | None = None
        self.message: Message | None = None
        self._replay: Replay | None = None
        self.error: ApiError | None = None
        self.engine_name = ""
        self.counted = False
        """Whether the engine itself has counted the prompt."""

    def prompt_tokens(self, *, hurry: bool = False) -> int:
        """Estimate the prompt; worked out anew only where it was in a hurry and no longer is."""
        measure = self._measure
        if measure is None or (measure.sampled and not hurry):
            measure = self._measure = self._expected.measure(hurry)
        return measure.tokens

    def replay(self) -> Replay:
        """Return the finished answer, rendered once for everybody who wants it whole."""
        if self._replay is None:
            if self.message is None:
                raise self.error or ApiError(500, "the answer never came")
            self._replay = Replay(self.message)
        return self._replay

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and good enough to be given again."""
        return self.message is not None and self._composer.complete

    @property
    def tokens(self) -> int:
        """Tokens of the answer so far; the engine's own count once it has ended."""
        return self._composer.tokens if self.message is None else self.message.usage.output_tokens

    def start(self, tasks: Tasks) -> None:
        """Begin; needs at least one listener to stay alive."""
        self._task = tasks.start(self._run(), name="generation")
        self._task.add_done_callback(self._stopped)
        self._schedule_heartbeat(self._ping_s)

    def join(self, *, frames: bool) -> Listener:
        """Add a listener; one that wants frames first gets what was said so far."""
        listener = Listener(self, frames=frames)
        if frames and self.begun:
            said = sse.encode(self._composer.snapshot())
            listener.push(said, _size(said))
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Remove a listener; the last one to leave ends the generation."""
        self._listeners.discard(listener)
        if not self._listeners and not self.ended and self._task is not None:
            self.abandoned = True
            self._task.cancel()
        self.drained()

    def abort(self, error: ApiError) -> None:
        """End now with ``error``, for a proxy that is stopping."""
        if not self.ended:
            self._fail(error)
            if self._task is not None:
                self._task.cancel()

    def drained(self) -> None:
        """A listener has taken its backlog, or has left."""
        self._room.set()

    async def _run(self) -> None:
        answering: Answering | None = None
        try:
            answering = await self._open_engine()
            self.engine_name, self.model_name = answering.engine_name, answering.model.name
            await self._relay(answering)
        except ApiError as error:
            self._fail(error)
        except asyncio.CancelledError:
            self._fail(overloaded("the request was abandoned"))
            raise
        except Exception:
            self._fail(ApiError(500, "internal error in llmctl, see its log"))
            raise
        finally:
            try:
                self._end(answering)
            finally:
                if answering is not None:
                    await answering.aclose()

    def _stopped(self, _task: asyncio.Task[None]) -> None:
        """End a generation whose task was cancelled before its first step."""
        if not self.ended:
            self._fail(overloaded("the request was abandoned"))
            self._end(None)

    async def _relay(self, answering: Answering) -> None:
        composer = self._composer
        chunks: list[EngineChunk] = []
        async for chunks in answering.chunks:
            self._say(composer.feed(chunks))
            if composer.stop_matched:
                break
            if self._crowded():
                await self._wait_for_room()
        done = chunks[-1].done if chunks else None
        self.counted = done is not None and done.prompt_tokens is not None
        if not self.counted:
            composer.input_tokens = self.prompt_tokens()
        closing = composer.finish()
        self.message = composer.message(answering.model.name)
        self._say(closing)

    def _say(self, events: list[Event]) -> None:
        if not events:
            return
        self._last_said = self._clock.monotonic()
        self._last_content = self._last_said
        if self.first_content_at is None and self._composer.first_content:
            self.first_content_at = self._last_said
        self._publish(events)

    def _publish(self, events: list[Event]) -> None:
        self.begun = True
        self._tell(events)

    def _tell(self, events: list[Event]) -> None:
        frames = sse.encode(events)
        size = _size(frames)
        for listener in self._listeners:
            if listener.wants_frames:
                listener.push(frames, size)

    def _fail(self, error: ApiError) -> None:
        if self.error is None and self.message is None:
            self.error = error
            self._tell(self._composer.fail(error))

    def _end(self, answering: Answering | None) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self.ended = True
        for listener in self._listeners:
            listener.wake()
        self._on_end(self, answering)

    def _crowded(self) -> bool:
        return bool(self._listeners) and all(
            listener.wants_frames and listener.backlog > BACKLOG_BYTES
            for listener in self._listeners
        )

    async def _wait_for_room(self) -> None:
        while self._crowded():
            self._room.clear()
            await self._room.wait()

    def _schedule_heartbeat(self, within_s: float) -> None:
        self._heartbeat = asyncio.get_running_loop().call_later(within_s, self._beat)

    def _beat(self) -> None:
        now = self._clock.monotonic()
        left_s = self._last_said + self._ping_s - now
        if left_s <= 0:
            self._last_said, left_s = now, self._ping_s
            self._publish(self._composer.keep_alive(now - self._last_content))
        # The clock may be a hair behind the loop's: not a timer for every hair.
        self._schedule_heartbeat(max(left_s, self._ping_s / 100))


def _size(frames: list[Frame]) -> int:
    return sum(len(frame) if type(frame) is bytes else 256 for frame in frames)


Ended = Callable[[Generation, Answering | None], None]
"""Told once how a generation ended."""
