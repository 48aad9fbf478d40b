"""A cache with answers in it, opened as a command would."""

import asyncio
from pathlib import Path

from llmctl.cache.entry import EntryMeta, describe
from llmctl.cache.memory import MemoryStore
from llmctl.config.load import Loaded, load
from llmctl.core.paths import find_paths
from llmctl.ops.cache.access import Access
from llmctl.protocol.anthropic import Message, TextBlock, TokenUsage, dump_message
from tests.clocks import ManualClock
from tests.sealing import entries_in
from tests.sealing import entry as entry_of

USAGE = TokenUsage(input_tokens=10, output_tokens=20)


class Stage:
    """``access``, over a store in memory that stands for a file."""

    def __init__(self, home: Path, *, kind: str = "sqlite", **settings: str) -> None:
        self.clock = ManualClock()
        environ = {"LLMCTL_HOME": str(home)} | settings
        self.loaded: Loaded = load(flags={}, environ=environ)
        self.store = MemoryStore(max_bytes=10_000_000, clock=self.clock)
        self.access = Access(
            loaded=self.loaded,
            paths=find_paths(environ),
            clock=self.clock,
            kind=kind,
            store=self.store,
            entries=entries_in(self.store, self.clock, home / "data"),
            journal=None,
        )

    def add(self, first: int, question: str, *, age_s: float = 0.0, **about) -> bytes:
        """Cache an answer under a key that begins with this byte."""
        key = bytes([first]) * 32
        message = Message(
            model="qwen", content=[TextBlock(text="42")], stop_reason="end_turn", usage=USAGE
        )
        meta = {"tenant": "local", "model": "qwen", "asked": "claude-x", "excerpt": question}
        meta |= {"prompt_tokens": 10, "completion_tokens": 20} | about
        one = entry_of(self.clock.now() - age_s, dump_message(message), ttl_s=100_000)
        described = describe(EntryMeta(**meta))
        entry = type(one)(
            created=one.created, expires=one.expires, described=described, body=one.body
        )
        self.access.entries.put(key, entry)
        return key


def run(work):
    return asyncio.run(work)
