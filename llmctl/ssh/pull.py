"""Pull a model onto a machine: its Ollama does it, this watches, and asks again after breaks."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from llmctl.core.errors import DeadlineExceeded, LlmctlError, NotFound, RemoteFailed
from llmctl.core.rental import Step, StepState
from llmctl.ssh.engine import RemoteModel, Sleep, full_name, models
from llmctl.ssh.remote import Remote

STILL_S = 300.0
REPORT_S = 0.25
RATE_S = 10.0
"""The rate is that of the last ten seconds."""
KEEP_S = 30.0
"""A pull is logged by Ollama when it ends: until then somebody must say that it is no idleness."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
_NAME = "pull"

_UNKNOWN = ("file does not exist", "invalid model name", "model not found")
_FULL = ("no space left", "disk quota exceeded")
_USELESS = ("unauthorized", "requires a newer version", "insecure protocol http")
"""Words of Ollama after which asking again is pointless."""


class PulledModel(Struct, frozen=True, kw_only=True):
    """A model that is complete on the machine."""

    name: str
    bytes: int
    digest: str


class _Line(Struct, frozen=True):
    status: str = ""
    error: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0


class Pull:
    """One pull; ``clock`` is monotonic seconds."""

    def __init__(  # noqa: PLR0913  what it talks to, what it is told, and time
        self,
        remote: Remote,
        port: int,
        *,
        report: Callable[[Step], None],
        keep_alive: Callable[[], Awaitable[None]],
        still_s: float = STILL_S,
        insecure: bool = False,
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote = remote
        self._port = port
        self._report = report
        self._keep_alive = keep_alive
        self._still_s = still_s
        self._insecure = insecure
        self._sleep = sleep
        self._clock = clock
        self._began = self._moved = self._kept = clock()
        self._progress = _Progress()
        self._status = ""
        self._trouble = ""

    async def run(self, model: str) -> PulledModel:
        """Return the model once it is complete; one that is there already is not asked for.

        Raises ``NotFound`` for a model that does not exist, ``RemoteFailed`` for a full disk,
        ``DeadlineExceeded`` after ``still_s`` without a new byte, ``SshError`` when the link
        breaks: what was pulled stays, and the next pull goes on from there.
        """
        if (there := await self._find(model)) is not None:
            self._say(StepState.DONE, f"{model} is there already")
            return there
        self._say(StepState.BEGIN, model)
        pause = FIRST_PAUSE_S
        while not await self._attempt(model):
            self._say(StepState.WARNING, f"{self._trouble}; asking again")
            await self._sleep(pause)
            self._check_moving(model)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        if (there := await self._find(model)) is None:
            raise RemoteFailed(f"{model} was pulled on {self._remote.where} and is not listed")
        self._say(StepState.DONE, f"{model} is on the machine")
        return there

    async def _find(self, model: str) -> PulledModel | None:
        for each in await models(self._remote, self._port):
            if full_name(each.name) == full_name(model):
                return _pulled(each)
        return None

    async def _attempt(self, model: str) -> bool:
        """Return whether Ollama said that it succeeded; False where it is worth asking again."""
        body = msgspec.json.encode({"model": model, "stream": True, "insecure": self._insecure})
        lines = self._remote.http_lines(self._port, "/api/pull", body, idle_s=self._still_s)
        words = "the answer of Ollama broke off"
        try:
            async with contextlib.aclosing(lines):
                async for raw in lines:
                    line = _decoded(raw)
                    if line.status == "success":
                        return True
                    if line.error:
                        words = line.error
                        break
                    await self._follow(model, line)
        except RemoteFailed as broken:
            words = broken.message
        self._judge(model, words)
        return False

    async def _follow(self, model: str, line: _Line) -> None:
        now = self._clock()
        if self._progress.take(line, now) or (line.status != self._status and not line.digest):
            self._moved = now
        self._status = line.status
        if self._progress.due(now):
            self._say(StepState.PROGRESS, _words(line))
        if now - self._kept >= KEEP_S:
            self._kept = now
            await self._keep_alive()
        self._check_moving(model)

    def _check_moving(self, model: str) -> None:
        if self._clock() - self._moved >= self._still_s:
            why = f": {self._trouble}" if self._trouble else ""
            raise DeadlineExceeded(
                f"no byte of {model} arrived on {self._remote.where} for {self._still_s:g} s{why}"
            )

    def _judge(self, model: str, words: str) -> None:
        """Remember what went wrong; raise it where asking again is pointless."""
        self._trouble = words
        lower = words.lower()
        failure: LlmctlError | None = None
        if any(each in lower for each in _UNKNOWN):
            failure = NotFound(
                f"there is no model {model} in Ollama's library",
                hint="names and tags are at https://ollama.com/library",
            )
        elif any(each in lower for each in _FULL):
            failure = RemoteFailed(
                f"the disk of {self._remote.where} is full: {model} does not fit",
                hint="rent a larger disk with --disk, or take a smaller model",
            )
        elif any(each in lower for each in _USELESS):
            failure = RemoteFailed(f"{model} cannot be pulled on {self._remote.where}: {words}")
        if failure is not None:
            raise failure

    def _say(self, state: StepState, text: str) -> None:
        elapsed = self._clock() - self._began
        done, total, rate = self._progress.sums()
        self._report(
            Step(
                name=_NAME,
                state=state,
                text=text,
                done_bytes=done,
                total_bytes=total,
                bytes_per_s=rate,
                elapsed_s=elapsed,
            )
        )


class _Progress:
    """Bytes over all layers, and how fast they come."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._past: deque[tuple[float, int]] = deque()
        self._most = 0
        self._told_at = float("-inf")

    def take(self, line: _Line, now: float) -> bool:
        """Return whether there are more bytes than ever before."""
        if not line.digest:
            return False
        self._layers[line.digest] = (line.completed, line.total)
        done = sum(completed for completed, _ in self._layers.values())
        self._past.append((now, done))
        while len(self._past) > 2 and now - self._past[0][0] > RATE_S:
            self._past.popleft()
        more, self._most = done > self._most, max(done, self._most)
        return more

    def due(self, now: float) -> bool:
        """Return whether it is time for another report."""
        if now - self._told_at < REPORT_S:
            return False
        self._told_at = now
        return True

    def sums(self) -> tuple[int | None, int | None, float | None]:
        """Return bytes done, bytes in all, and bytes a second; None for what is not known."""
        if not self._layers:
            return None, None, None
        done = sum(completed for completed, _ in self._layers.values())
        total = sum(size for _, size in self._layers.values())
        (first, had), (last, has) = self._past[0], self._past[-1]
        rate = (has - had) / (last - first) if last > first and has >= had else None
        return done, total, rate


def _decoded(raw: bytes) -> _Line:
    try:
        return msgspec.json.decode(raw, type=_Line)
    except msgspec.DecodeError as failure:
        raise RemoteFailed(
            f"Ollama's answer broke off in the middle of a line: {failure}"
        ) from failure


def _words(line: _Line) -> str:
    return "pulling" if line.digest else line.status


def _pulled(model: RemoteModel) -> PulledModel:
    return PulledModel(name=model.name, bytes=model.bytes, digest=model.digest)
