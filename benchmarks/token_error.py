"""How far token counts are off, and what they cost.

``python -m benchmarks.token_error [--gguf FILE] [--seed 1]``. The truth is the real llama.cpp's: it
tokenizes every prompt, in a template that the counter does not know. Requests are made of what lies
about on this machine: sources, manuals, licences, tool schemas, texts in other scripts, sessions
shaped like Claude Code's. A third of them is reported to the counter, the others are held back.
"""

import argparse
import asyncio
import gzip
import json
import random
import sysconfig
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import aiohttp

from llmctl.backend.base import Engine
from llmctl.backend.embedded.engine import embedded_engine
from llmctl.backend.embedded.weights import ensure_model
from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import EmbeddedConfig, TimeoutConfig
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.dialogue import entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode_for_count
from llmctl.protocol.tokens import TokenCounter
from llmctl.protocol.toolschema import parameters
from llmctl.protocol.vocabulary import Vocabulary
from tests.claude_shapes import Call, encode, main_request, tool_turn, tools
from tests.embedded_model import MODEL_DIR
from tests.tiny_gguf import read_tokenizer

MODEL = EngineModel(
    name="m", digest="d", capabilities=frozenset({"completion", "tools"}), family="llama"
)
STDLIB = Path(sysconfig.get_path("stdlib"))
MANUALS = Path("/usr/share/man")
LICENCES = Path("/usr/share/common-licenses")
OTHER_SCRIPTS = ("ja", "ko", "ru", "uk", "zh_CN", "zh_TW", "el", "sr")


class Sample(NamedTuple):
    """One request and where it is from."""

    kind: str
    request: MessagesRequest
    tokens: int = 0


def normal(body: dict[str, Any]) -> MessagesRequest:
    return normalise(decode_for_count(encode(body)))


# -- requests ------------------------------------------------------------------------------------


def texts(paths: list[Path], dice: random.Random, *, wanted: int) -> Iterator[str]:
    """Yield parts of 4 to 24 kB of some of the files."""
    dice.shuffle(paths)
    for path in paths:
        raw = path.read_bytes()
        try:
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
        except (OSError, UnicodeDecodeError):
            continue
        size = dice.randint(4000, 24_000)
        if len(text) >= 4000 and wanted:
            start = dice.randint(0, max(0, len(text) - size))
            wanted -= 1
            yield text[start : start + size]


def material(dice: random.Random) -> dict[str, list[str]]:
    """Return texts by kind."""
    packages = Path(sysconfig.get_path("purelib"))
    prose = [*packages.glob("*.dist-info/**/*"), *LICENCES.glob("*"), *MANUALS.glob("man[1-8]/*")]
    other = [path for script in OTHER_SCRIPTS for path in MANUALS.glob(f"{script}/man*/*")]
    other += STDLIB.glob("test/cjkencodings/*-utf8.txt")
    code = [*STDLIB.glob("*.py"), *STDLIB.glob("*/*.py"), *packages.glob("**/*.js")]
    files = {"code": code, "prose": prose, "other scripts": other}
    return {
        kind: list(texts([path for path in paths if path.is_file()], dice, wanted=60))
        for kind, paths in files.items()
    }


def samples(dice: random.Random) -> list[Sample]:
    """Return requests of every kind, in random order."""
    found = material(dice)
    made = [
        Sample(kind, ask(text, dice)) for kind, several in found.items() for text in several[:30]
    ]
    for _ in range(20):
        some = dice.sample(tools(), dice.randint(3, 20))
        made.append(Sample("tool schemas", ask("What can you do?", dice, tools=some)))
    for number, text in enumerate(text for several in found.values() for text in several[30:]):
        made += [Sample("Claude Code", request) for request in session(number, text)]
    dice.shuffle(made)
    return made


def ask(text: str, dice: random.Random, **fields: Any) -> MessagesRequest:
    system = {"system": "You are a careful assistant."} if dice.random() < 0.5 else {}
    turns = [{"role": "user", "content": text}]
    return normal({"model": "m", "max_tokens": 1, "messages": turns, **system, **fields})


def session(number: int, text: str) -> list[MessagesRequest]:
    """Return the 76 kB request of a session and the one after a file was read."""
    first = main_request(f"Please look at file {number}", session=str(number))
    call = Call(id=f"t{number}", name="Read", input={"file_path": f"/{number}.py"}, result=text)
    return [normal(first), normal(tool_turn(first, [call], text="I read the file first."))]


# -- the truth -----------------------------------------------------------------------------------


@asynccontextmanager
async def llama_cpp(gguf: Path) -> AsyncIterator[Callable[[str], Any]]:
    """Yield what tokenizes a text with the real engine."""
    server: list[str] = []

    def connect(url: str, key: str) -> Engine:
        server[:] = url, key
        return OpenAIEngine(url, timeouts=TimeoutConfig(), api_key=key)

    engine = embedded_engine(gguf, EmbeddedConfig(), num_ctx=512, connect=connect)
    engine.start()
    try:
        await engine.wait_ready()
        url, key = server
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as client:

            async def tokenize(text: str) -> int:
                body = {"content": text, "parse_special": True}
                async with client.post(f"{url}/tokenize", json=body) as reply:
                    return len((await reply.json())["tokens"])

            yield tokenize
    finally:
        await engine.close()


def rendered(request: MessagesRequest) -> str:
    """Write a prompt: ChatML with tools as JSON in a message of their own."""
    said = entries(ChatPlan(request=request, model=MODEL, num_ctx=None, max_tokens=1))
    turns = [f"<|im_start|>{entry.role}\n{entry.text}" for entry in said]
    for index, entry in enumerate(said):
        for call in entry.calls:
            written = json.dumps({"tool": call.name, "input": call.arguments})
            turns[index] += f"\n<function_call>{written}</function_call>"
    if request.tools:
        written = json.dumps(
            [
                {"name": t.name, "about": t.description, "input": parameters(t.input_schema)}
                for t in request.tools
            ]
        )
        turns.insert(1, f"<|im_start|>tools\nThese are your tools.\n{written}")
    if request.system is None:
        turns.insert(0, "<|im_start|>system\nYou are a helpful assistant made by nobody.")
    return "<|im_end|>\n".join([*turns, "<|im_start|>assistant\n"])


# -- the tables ----------------------------------------------------------------------------------


def errors(
    counter: TokenCounter, some: list[Sample], *, learn: bool, hurry: bool = False
) -> dict[str, list[float]]:
    """Count ``some`` and return errors as shares of the truth, by kind."""
    found: dict[str, list[float]] = {}
    for sample in some:
        count = counter.measure(sample.request, MODEL, hurry=hurry).tokens
        found.setdefault(sample.kind, []).append(count / sample.tokens - 1)
        if learn:
            counter.learn(sample.request, MODEL, sample.tokens)
    return found


def table(title: str, found: dict[str, list[float]]) -> None:
    print(f"\n{title}\n{'':16}{'requests':>9}{'median':>9}{'p90':>9}{'under':>9}{'over':>9}")
    everything = [error for several in found.values() for error in several]
    for kind, several in [*sorted(found.items()), ("all", everything)]:
        sizes = [abs(error) for error in several]
        p90 = quantiles(sizes, n=10)[-1]
        under, over = min(0.0, *several), max(0.0, *several)
        print(
            f"{kind:16}{len(several):>9}{median(sizes):>9.2%}{p90:>9.2%}{under:>9.2%}{over:>9.2%}"
        )


def fresh(vocabulary: Vocabulary | None) -> TokenCounter:
    counter = TokenCounter()
    counter.install(MODEL.digest, vocabulary)
    return counter


def compare(vocabulary: Vocabulary, some: list[Sample]) -> None:
    third = len(some) // 3
    for title, source in (("vocabulary", vocabulary), ("no vocabulary", None)):
        table(f"{title}, nothing reported", errors(fresh(source), some[third:], learn=False))
        counter = fresh(source)
        errors(counter, some[:third], learn=True)
        state = counter.export_state()
        hurried = errors(counter, some[third:], learn=False, hurry=True)
        table(f"{title}, {third} reported, in a hurry", hurried)
        table(f"{title}, {third} reported", errors(counter, some[third:], learn=False))
        counter = fresh(source)
        counter.load_state(state)
        restarted = f"{title}, restarted, then each reported after it was counted"
        table(restarted, errors(counter, some[third:], learn=True))


def best_us(job: Callable[[], Callable[[], object]], *, times: int = 15) -> float:
    """Return the least microseconds of what ``job`` prepares."""
    least = float("inf")
    for _ in range(times):
        run = job()
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least * 1e6


def speed(vocabulary: Vocabulary) -> None:
    print(f"\n{'microseconds':24}{'vocabulary':>12}{'none':>12}")
    first, second = session(1, "x = 1\n" * 50)

    def after(before: list[MessagesRequest], source: Vocabulary | None, verb: str) -> float:
        def job() -> Callable[[], object]:
            counter = fresh(source)
            for request in before:
                counter.count(request, MODEL)
            if verb == "learn":
                return lambda: counter.learn(second, MODEL, 19_000)
            return lambda: counter.count(second if before else first, MODEL)

        return best_us(job)

    for label, before, verb in (
        ("first count of 76 kB", [], "count"),
        ("next turn", [first], "count"),
        ("same request again", [first, second], "count"),
        ("report", [first, second], "learn"),
    ):
        costs = (after(before, source, verb) for source in (vocabulary, None))
        print(f"{label:24}" + "".join(f"{cost:>12.0f}" for cost in costs))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", type=Path, help="a model with a byte-pair vocabulary")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    gguf = options.gguf or ensure_model(MODEL_DIR, progress=lambda _: None)
    vocabulary = Vocabulary.from_ollama_show(read_tokenizer(gguf))
    if vocabulary is None:
        parser.error(f"{gguf} has no byte-pair vocabulary with a known pre-tokenizer")
    async with llama_cpp(gguf) as tokenize:
        some = [
            sample._replace(tokens=await tokenize(rendered(sample.request)))
            for sample in samples(random.Random(options.seed))
        ]
    compare(vocabulary, some)
    speed(vocabulary)


if __name__ == "__main__":
    asyncio.run(main())
