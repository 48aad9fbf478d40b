"""An engine for tests of the pool, without sockets."""

from collections.abc import Callable
from typing import Any

from llmctl.backend.base import Answer
from llmctl.protocol.anthropic import MessagesRequest, Turn
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineDone, EngineModel
from llmctl.protocol.errors import ApiError

REQUEST = MessagesRequest(
    model="claude-sonnet-5", max_tokens=64, messages=[Turn(role="user", content="hello")]
)
DONE = EngineChunk(done=EngineDone(reason="stop"))


def model(name: str = "qwen3-coder:30b", *capabilities: str, **fields: Any) -> EngineModel:
    able = frozenset(capabilities or ("completion", "tools"))
    return EngineModel(name=name, digest=f"digest of {name}", capabilities=able, **fields)


def plan_for(chosen: EngineModel) -> ChatPlan:
    return ChatPlan(request=REQUEST, model=chosen, num_ctx=4096, max_tokens=64)


Said = list[EngineChunk] | ApiError | Callable[[], Any]


class FakeEngine:
    """Says what it is told: each ``chat`` takes the next script, the last one repeats.

    A script is a list of what to yield, to raise or to await, in order.
    """

    kind = "ollama"

    def __init__(
        self, name: str, *scripts: list[Said], models: list[EngineModel] | ApiError | None = None
    ) -> None:
        self.name = name
        self.scripts = list(scripts) or [[[EngineChunk(text=name)], [DONE]]]
        self.models = [model()] if models is None else models
        self.plans: list[ChatPlan] = []
        self.discoveries = 0
        self.ended = 0
        """Answers whose generator has been closed or has finished."""
        self.closed = False

    async def discover(self) -> list[EngineModel]:
        self.discoveries += 1
        if isinstance(self.models, ApiError):
            raise self.models
        return self.models

    async def chat(self, plan: ChatPlan) -> Answer:
        script = self.scripts[min(len(self.plans), len(self.scripts) - 1)]
        self.plans.append(plan)
        try:
            for said in script:
                if isinstance(said, ApiError):
                    raise said
                if isinstance(said, list):
                    yield said
                else:
                    await said()
        finally:
            self.ended += 1

    async def count(self, _request: MessagesRequest, _model: EngineModel) -> int | None:
        return None

    async def vocabulary(self, _model: EngineModel) -> dict[str, Any] | None:
        return None

    async def close(self) -> None:
        self.closed = True
