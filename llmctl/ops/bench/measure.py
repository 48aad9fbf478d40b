"""Times an engine's answers, asked directly: no cache, no queue and no ledger of ours is between.

Everything measured so far is kept when time or money run out.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing

from msgspec import Struct
from msgspec.structs import replace

from llmctl.backend.base import Engine
from llmctl.core.errors import BackendError
from llmctl.core.reports_bench import Figures, Level, Prefill
from llmctl.ops.bench import prompts
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineModel
from llmctl.protocol.errors import ApiError

LEVELS = (1, 2, 4, 8)
REPEATS = 3
SLOW_S = 20.0
"""Long prompts are not read again when that has taken so long."""
ANSWER_TOKENS = 128
PROMPT_TOKENS = 4000
_SHARE_OF_WINDOW = 2
"""A prompt takes half of a small window at most."""

Say = Callable[[str], None]


class Target(Struct, frozen=True, kw_only=True):
    """What is measured, and how it is asked: as the proxy would, or the model would be reloaded."""

    engine: Engine
    model: EngineModel
    num_ctx: int | None
    keep_alive: str
    prompt_tokens: int = PROMPT_TOKENS
    answer_tokens: int = ANSWER_TOKENS
    levels: tuple[int, ...] = LEVELS


class Timed(Struct, frozen=True, kw_only=True):
    """One answer; times are seconds of a monotonic clock."""

    began: float
    first: float
    last: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def first_token_s(self) -> float:
        return self.first - self.began

    @property
    def tokens_per_s(self) -> float | None:
        spent = self.last - self.first
        return (self.completion_tokens - 1) / spent if spent > 0 else None


class Measuring:
    """One run; ``figures`` holds what is known so far, whatever happens."""

    def __init__(
        self, target: Target, say: Say, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._target = target
        self._say = say
        self._now = now
        self.figures = Figures()

    async def run(self) -> None:
        """Measure everything in turn; raises ``BackendError`` when the engine fails."""
        try:
            await self._load()
            await self._prefill()
            for concurrency in self._target.levels:
                await self._level(concurrency)
        except ApiError as failure:
            raise BackendError(f"the engine failed: {failure.message}") from failure

    async def _load(self) -> None:
        self._say(f"loading {self._target.model.name}")
        first = await self._ask(prompts.story(8), 8)
        self.figures = replace(self.figures, load_s=first.first_token_s)

    async def _prefill(self) -> None:
        """Read long prompts: each new one, then each again with another end."""
        window = self._target.num_ctx or self._target.prompt_tokens * _SHARE_OF_WINDOW
        wanted = min(self._target.prompt_tokens, window // _SHARE_OF_WINDOW)
        cold: list[Timed] = []
        warm: list[Timed] = []
        began = self._now()
        for repeat in range(REPEATS):
            if self._now() - began > SLOW_S:
                break  # writing is to be measured as well
            text = prompts.long_prompt(wanted)
            self._say(f"reading a new prompt of about {wanted:,} tokens ({repeat + 1}/{REPEATS})")
            cold.append(await self._ask(prompts.about(text, 1), 8))
            self.figures = replace(self.figures, cold=_prefill(cold))
            self._say(f"reading it again with another end ({repeat + 1}/{REPEATS})")
            warm.append(await self._ask(prompts.about(text, 2), 8))
            self.figures = replace(self.figures, warm=_prefill(warm))

    async def _level(self, concurrency: int) -> None:
        tokens = self._target.answer_tokens
        self._say(f"writing {tokens} tokens, {concurrency} at a time")
        began = self._now()
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(self._ask(prompts.story(tokens), tokens))
                    for _ in range(concurrency)
                ]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        answers = [each.result() for each in asked]
        level = _level(concurrency, answers, began)
        figures = replace(self.figures, levels=[*self.figures.levels, level])
        if concurrency == 1:
            figures = replace(figures, first_token_ms=level.first_token_ms)
        self.figures = figures

    async def _ask(self, request: MessagesRequest, max_tokens: int) -> Timed:
        plan = ChatPlan(
            request=request,
            model=self._target.model,
            num_ctx=self._target.num_ctx,
            max_tokens=max_tokens,
            keep_alive=self._target.keep_alive,
        )
        reading = _Reading(self._now())
        async with aclosing(self._target.engine.chat(plan)) as answer:
            async for chunks in answer:
                for chunk in chunks:
                    reading.take(chunk, self._now())
        return reading.result()


class _Reading:
    """Watches one answer go by."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._first: float | None = None
        self._last = began
        self._pieces = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0

    def take(self, chunk: EngineChunk, at: float) -> None:
        if chunk.text or chunk.thinking or chunk.tool_calls:
            self._first = at if self._first is None else self._first
            self._last = at
            self._pieces += 1
        if chunk.done is not None:
            self._prompt_tokens = chunk.done.prompt_tokens or 0
            self._completion_tokens = chunk.done.completion_tokens or self._pieces
            # some models have nothing to say to some prompts: they have read them all the same
            self._first = at if self._first is None else self._first
            self._last = at

    def result(self) -> Timed:
        if self._first is None:
            raise BackendError("the engine's answer was empty, so nothing can be timed")
        return Timed(
            began=self._began,
            first=self._first,
            last=self._last,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self._completion_tokens,
        )


def _prefill(answers: Sequence[Timed]) -> Prefill:
    seconds = statistics.median(each.first_token_s for each in answers)
    tokens = round(statistics.median(each.prompt_tokens for each in answers))
    return Prefill(
        prompt_tokens=tokens,
        first_token_ms=seconds * 1000,
        tokens_per_s=tokens / seconds if seconds > 0 else 0.0,
    )


def _level(concurrency: int, answers: Sequence[Timed], began: float) -> Level:
    seconds = max(each.last for each in answers) - began
    tokens = sum(each.completion_tokens for each in answers)
    rates = [each.tokens_per_s for each in answers if each.tokens_per_s is not None]
    return Level(
        concurrency=concurrency,
        tokens_per_s=tokens / seconds if seconds > 0 else 0.0,
        each_tokens_per_s=statistics.median(rates) if rates else None,
        first_token_ms=statistics.median(each.first_token_s for each in answers) * 1000,
        completion_tokens=tokens,
        seconds=seconds,
    )
