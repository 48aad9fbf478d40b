"""An engine whose clock is ours: reading and writing take as long as it is told."""

import asyncio

from llmctl.core.model import EngineFacts
from llmctl.protocol.engine import EngineChunk, EngineDone, EngineModel
from tests.clocks import ManualClock

MODEL = EngineModel(
    name="qwen3-coder:30b",
    digest="d",
    context_length=65_536,
    capabilities=frozenset({"completion", "tools"}),
)


class ScriptedEngine:
    """Reads ``read_per_s`` tokens a second, and writes ``write_per_s`` to each of its slots.

    It remembers what it has read: a prompt it knows costs nothing but its end.
    """

    name = "ollama:http://gpu:11434"
    kind = "ollama"

    def __init__(self, clock: ManualClock, *, read_per_s=1000.0, write_per_s=50.0, load_s=0.0):
        self.clock = clock
        self.read_per_s = read_per_s
        self.write_per_s = write_per_s
        self.load_s = load_s
        self.models = [MODEL]
        self.plans = []
        self.known = set()
        self.fails_at = None
        self.failure = None
        self.silent = False
        self.facts = EngineFacts(version="0.33.0")

    async def discover(self):
        return self.models

    async def chat(self, plan):
        self.plans.append(plan)
        if self.fails_at is not None and len(self.plans) > self.fails_at:
            raise self.failure
        text = plan.request.messages[0].content
        text = text if isinstance(text, str) else text[0].text
        tokens = len(text.split())
        head = text.split("\n")[0]
        fresh = 10 if head in self.known else tokens
        self.known.add(head)
        self.clock.advance(self.load_s + fresh / self.read_per_s)
        self.load_s = 0.0
        await asyncio.sleep(0)
        written = 0 if self.silent else plan.max_tokens
        for _ in range(written):
            yield [EngineChunk(text="word ")]
            self.clock.advance(1 / self.write_per_s)
            await asyncio.sleep(0)
        done = EngineDone(reason="length", prompt_tokens=tokens, completion_tokens=written)
        yield [EngineChunk(done=done)]

    async def close(self):
        pass
