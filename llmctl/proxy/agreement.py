"""The last check before a semantic hit: the model itself, one word, over both questions."""

import asyncio
from collections.abc import Callable

from llmctl.backend.pool import Pool
from llmctl.protocol.anthropic import MessagesRequest, TextBlock, ThinkingConfig, Turn
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.proxy.semantic import Question

WITHIN_S = 5.0
TOKENS = 3
ASKED = """Would exactly the same answer be right for both questions?

First question: {first}

Second question: {second}

Answer with one word, yes or no."""


class Agreement:
    """Asks the model that would have answered; silence and anything but yes is a no."""

    def __init__(
        self, pool: Pool, window: Callable[[EngineModel], int | None], *, keep_alive: str
    ) -> None:
        self._pool = pool
        self._window = window
        self._keep_alive = keep_alive

    async def __call__(self, question: Question, other: str) -> bool:
        """Return whether the model takes both questions for the same."""
        content = TextBlock(text=ASKED.format(first=other, second=question.text))
        request = MessagesRequest(
            model=question.model.name,
            messages=[Turn(role="user", content=[content])],
            max_tokens=TOKENS,
            temperature=0.0,
            thinking=ThinkingConfig(type="disabled"),
        )
        try:
            async with asyncio.timeout(WITHIN_S):
                return _is_yes(await self._answer(request))
        except (TimeoutError, ApiError):
            return False

    async def _answer(self, request: MessagesRequest) -> str:
        def plan(model: EngineModel) -> ChatPlan:
            return ChatPlan(
                request=request,
                model=model,
                # the same window as ever: with another one Ollama loads the model anew
                num_ctx=self._window(model),
                max_tokens=TOKENS,
                keep_alive=self._keep_alive,
            )

        route = self._pool.resolve(request.model)
        answering = await self._pool.open(route, plan, background=True)
        try:
            said = [chunk.text async for chunks in answering.chunks for chunk in chunks]
        finally:
            await answering.aclose()
        return "".join(said)


def _is_yes(said: str) -> bool:
    return said.strip().strip("\"'*.").casefold().startswith("yes")
