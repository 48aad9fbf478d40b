"""What the cache saves on mixed traffic: hits by tier, tokens and seconds saved, wrong hits.

``python -m benchmarks.workload [--requests 3000] [--mix NAME] [--error-rate 0.01] [--mode on]``.

A generated stream of requests goes through ``llmctl serve`` to an emulated engine. Each request is
a *repeat* (the same bytes as one before), a *paraphrase* (a question asked before, in other words),
a *new* question, or an *agent* turn (20 kB, with tools; only a repeat of it can be a hit). Every
question has an intent, and the engine's answer names it: an answer with another intent is a wrong
hit. Real engines word their answers differently each time, which makes learning slower than here.

Seconds saved are reckoned at what one card with a 30B model does: 50 tokens a second, 2,000 prompt
tokens a second. ``second_half`` is what the tiers do after they have learnt from the first half.
"""

import argparse
import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from benchmarks import bodies, processes
from tests.claude_shapes import encode
from tests.emulators.ollama import Answer, Model, OllamaEmulator
from tests.emulators.server import Recorded

TOKENS_PER_S = 50
PROMPT_TOKENS_PER_S = 2000
CLIENTS = 4
KINDS = ("repeat", "paraphrase", "new", "agent")


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds, in the order of ``KINDS``."""

    name: str
    shares: tuple[float, float, float, float]


MIXES = (
    Mix("one team's questions", (0.45, 0.30, 0.25, 0.0)),
    Mix("a support bot", (0.65, 0.20, 0.15, 0.0)),
    Mix("tests run again and again", (0.85, 0.0, 0.10, 0.05)),
    Mix("chat and agents", (0.30, 0.15, 0.25, 0.30)),
    Mix("coding agents", (0.10, 0.02, 0.08, 0.80)),
)
VERBS = ["sort", "reverse", "copy", "filter", "merge", "print", "validate", "serialize", "count",
         "compare", "flatten", "split", "search", "cache", "encrypt", "compress"]  # fmt: skip
THINGS = ["list", "dictionary", "string", "file", "set", "tree", "queue", "matrix", "table",
          "stream", "socket", "date", "graph", "buffer", "record", "sequence"]  # fmt: skip
LANGUAGES = ["Python", "Rust", "Go", "Java", "Ruby", "Kotlin", "Haskell", "Swift", "Perl", "Lua"]
FRAMES = [
    "How do I {}?",
    "How can I {}?",
    "how to {}",
    "What is the best way to {}?",
    "Please tell me how to {}.",
    "Can you show me how to {}?",
    "I want to {}. How do I do that?",
    "Could you explain how I can {}?",
]
INTENT = re.compile(r"intent (\d+)")


@dataclass
class Request:
    """One request of the stream."""

    kind: str
    body: bytes
    intent: int


@dataclass
class Stream:
    """Makes requests; remembers what it has asked."""

    mix: Mix
    random: random.Random
    topics: list[str]
    asked: list[Request] = field(default_factory=list)
    frames: dict[int, list[str]] = field(default_factory=dict)

    def requests(self, count: int) -> Iterator[Request]:
        for number in range(count):
            kind = self.random.choices(KINDS, self.mix.shares)[0]
            made = getattr(self, f"_{kind}")(number)
            yield made
            if made.kind != "repeat":
                self.asked.append(made)

    def _repeat(self, number: int) -> Request:
        if not self.asked:
            return self._new(number)
        # what was asked lately, and what is asked often, comes again
        place = int(len(self.asked) * self.random.random() ** 0.5)
        one = self.asked[place]
        return Request("repeat", one.body, one.intent)

    def _paraphrase(self, number: int) -> Request:
        left = [intent for intent, frames in self.frames.items() if frames]
        if not left:
            return self._new(number)
        return self._ask("paraphrase", self.random.choice(left))

    def _new(self, _number: int) -> Request:
        intent = len(self.frames)
        frames = FRAMES.copy()
        self.random.shuffle(frames)
        self.frames[intent] = frames
        return self._ask("new", intent)

    def _agent(self, number: int) -> Request:
        request = bodies.agent_request(20_000, stream=False)
        request["messages"][0]["content"][-1]["text"] += f" Now do step {number}."
        return Request("agent", encode(request), -1)

    def _ask(self, kind: str, intent: int) -> Request:
        text = self.frames[intent].pop().format(self.topics[intent])
        turn = {"role": "user", "content": text}
        body = {"model": "claude-sonnet-5", "max_tokens": 800, "messages": [turn]}
        return Request(kind, encode(body), intent)


@dataclass
class Tally:
    """What became of requests."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: int = 0
    tokens: int = 0
    saved_tokens: int = 0
    saved_s: float = 0.0

    def add(self, request: Request, outcome: str, answer: dict) -> None:
        self.outcomes[request.kind, outcome] += 1
        usage = answer["usage"]
        self.tokens += usage["output_tokens"]
        if outcome not in {"hit", "semantic"}:
            return
        self.saved_tokens += usage["output_tokens"]
        prompt = usage["input_tokens"] + usage["cache_read_input_tokens"]
        self.saved_s += usage["output_tokens"] / TOKENS_PER_S + prompt / PROMPT_TOKENS_PER_S
        self.wrong += _intent_of(answer) != request.intent

    def figures(self) -> dict[str, float]:
        total = self.outcomes.total()
        by_tier = Counter[str]()
        for (_, outcome), count in self.outcomes.items():
            by_tier[outcome] += count
        paraphrases = sum(n for (kind, _), n in self.outcomes.items() if kind == "paraphrase")
        served = self.outcomes["paraphrase", "semantic"]
        return {
            "exact": by_tier["hit"] / total,
            "semantic": by_tier["semantic"] / total,
            "hits": (by_tier["hit"] + by_tier["semantic"]) / total,
            "wrong_hits": self.wrong,
            "paraphrases_served": served / paraphrases if paraphrases else 0.0,
            "tokens_saved": self.saved_tokens / self.tokens,
            "seconds_saved": round(self.saved_s),
        }


def _intent_of(answer: dict) -> int:
    text = "".join(block.get("text", "") for block in answer["content"])
    found = INTENT.search(text)
    return int(found[1]) if found else -1


class Engine:
    """Answers every question by its intent, every agent turn with a plan."""

    def __init__(self, topics: list[str]) -> None:
        self._intents = {topic: number for number, topic in enumerate(topics)}

    def __call__(self, recorded: Recorded) -> Answer:
        text = str(recorded.body["messages"][-1]["content"])
        found = [topic for topic in self._intents if topic in text]
        if recorded.body.get("tools") or not found:
            return Answer(*["I look at the next file. "] * 20, completion_tokens=120)
        topic = max(found, key=len)
        said = f"This is intent {self._intents[topic]}: you {topic} as follows. Take what you have,"
        said += " look at each element in turn, and keep what you need of it."
        return Answer(said, prompt_tokens=20, completion_tokens=300)


async def replay(
    mix: Mix, engine: OllamaEmulator, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    topics = [
        f"{verb} a {thing} in {language}"
        for verb in VERBS
        for thing in THINGS
        for language in LANGUAGES
    ]
    random.Random(7).shuffle(topics)
    engine.script = Engine(topics)
    stream = Stream(mix, random.Random(options.seed), topics)
    env = {
        "LLMCTL_CACHE_SEMANTIC_EMBEDDER": "local",
        "LLMCTL_CACHE_SEMANTIC_ERROR_RATE": str(options.error_rate),
    }
    halves = [Tally(), Tally()]
    with processes.llmctl(engine.url, "--semantic", options.mode, env=env) as (port, _):
        async with aiohttp.ClientSession() as session:
            await _until_ready(session, port)
            requests = list(stream.requests(options.requests))
            for number, tally in enumerate(halves):
                half = requests[number * len(requests) // 2 : (number + 1) * len(requests) // 2]
                await _send(session, port, half, tally)
            status = await _health(session, port)
    whole = Tally(
        outcomes=halves[0].outcomes + halves[1].outcomes,
        wrong=halves[0].wrong + halves[1].wrong,
        tokens=halves[0].tokens + halves[1].tokens,
        saved_tokens=halves[0].saved_tokens + halves[1].saved_tokens,
        saved_s=halves[0].saved_s + halves[1].saved_s,
    )
    counts = status["semantic"]["counts"]
    by_kind = {f"{kind} {outcome}": n for (kind, outcome), n in sorted(whole.outcomes.items())}
    return {
        "all": whole.figures(),
        "second_half": halves[1].figures(),
        "kinds": by_kind,
        "tier": counts,
    }


async def _send(
    session: aiohttp.ClientSession, port: int, requests: list[Request], tally: Tally
) -> None:
    waiting = iter(requests)

    async def client() -> None:
        for request in waiting:
            async with session.post(
                f"http://127.0.0.1:{port}/v1/messages", data=request.body, headers=_headers()
            ) as response:
                answer = json.loads(await response.read())
                if response.status != 200:
                    raise SystemExit(f"unexpected answer: {answer}")
                tally.add(request, response.headers["x-llmctl-cache"], answer)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


def _headers() -> dict[str, str]:
    return {"x-api-key": processes.TOKEN, "Content-Type": "application/json"}


async def _health(session: aiohttp.ClientSession, port: int) -> dict:
    async with session.get(f"http://127.0.0.1:{port}/health", headers=_headers()) as response:
        return await response.json()


async def _until_ready(session: aiohttp.ClientSession, port: int) -> None:
    for _ in range(200):
        semantic = (await _health(session, port)).get("semantic")
        if semantic is None or semantic["embedder"]:
            return
        await asyncio.sleep(0.1)
    raise SystemExit("the embedder is not ready")


async def run(options: argparse.Namespace) -> None:
    async with OllamaEmulator(models=(Model(),)) as engine:
        for mix in MIXES:
            if options.mix in (None, mix.name):
                found = await replay(mix, engine, options)
                shares = dict(zip(KINDS, mix.shares, strict=True))
                print(json.dumps({"name": f"workload, {mix.name}", "shares": shares}))
                for part, figures in found.items():
                    processes.report(f"  {part}", **figures)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--mix", choices=[mix.name for mix in MIXES])
    parser.add_argument("--mode", choices=("shadow", "on"), default="on")
    parser.add_argument("--error-rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
