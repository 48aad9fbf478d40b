"""The texts of a prompt, and their tokens for one model.

A text that was seen before is not looked at again, so a turn of a conversation pays for its new
text only.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from math import inf
from operator import mul
from typing import NamedTuple

import msgspec

from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.dialogue import Entry, entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.estimate import FEATURES, features
from llmctl.protocol.excerpt import excerpt
from llmctl.protocol.forecast import Block, Forecast, Forecaster
from llmctl.protocol.remembered import Remembered
from llmctl.protocol.templates import (
    Markup,
    markup_of,
    segments,
    system_segment,
    tools_segment,
)
from llmctl.protocol.vocabulary import Vocabulary

MAX_BLOCKS = 4096
"""Texts remembered per model: their counts, 1 kB each at most, not the texts."""
SAMPLE_CHARS, SAMPLES = 2048, 4
"""In a hurry so much new text is counted (0.3 ms), and so much is sampled of what is beyond."""

Weight = tuple[float, float]
"""Tokens of one of a kind: mean and standard deviation."""

VOCABULARY_WEIGHT: Weight = (1.0, 0.001)
TOOLS_WEIGHT: Weight = (0.0, 0.06)
"""What a template makes more or less of the tools than their text here."""
TEXT_SPREAD = 0.04
"""Share by which estimates of single texts are off after all learning."""
TOOLS_SPREAD = 0.03
"""The same for a set of tools, with or without a vocabulary."""


_Key = tuple[str, int, int]
"""Kind, hash and length: Python keys its hashes afresh in every process, so nobody can make two
texts collide."""


class Overhead(NamedTuple):
    """Tokens that a template adds to the texts, each per one of these."""

    prompt: Weight
    prompt_without_system: Weight
    prompt_with_tools: Weight
    message: Weight
    result: Weight
    call: Weight
    tool: Weight


EXACT = Overhead((0, 1), (0, 1), (0, 2), (0, 0.1), (0, 0.5), (0, 0.5), (0, 0.1))
MARKED = Overhead((0, 2), (0, 15), (0, 60), (0, 1), (0, 3), (0, 4), (0, 2))
GUESSED = Overhead((3, 4), (10, 15), (60, 60), (4.5, 2.5), (8, 6), (10, 8), (3, 4))


class Prompt(NamedTuple):
    """A request as far as it can be counted."""

    blocks: list[Block]
    structure: tuple[int, ...]
    """How often there is what ``Overhead`` names."""
    fixed: int
    """Tokens that come on top for certain."""
    images: int
    sampled: bool
    """Whether of some of its text only a part was read."""


class ModelTokens:
    """Counts prompts for one model, by its vocabulary or by estimates."""

    def __init__(self, model: EngineModel, vocabulary: Vocabulary | None) -> None:
        self._vocabulary = vocabulary
        self._markup = markup_of(model, vocabulary.special if vocabulary else frozenset())
        self._blocks: OrderedDict[_Key, Block] = OrderedDict()
        weights = _weights(self._markup, by_vocabulary=vocabulary is not None)
        self._usual, spread = zip(*weights, strict=True)
        self._forecaster = Forecaster(self._usual, spread)
        self.key = f"{model.digest}{'/vocabulary' if vocabulary else ''}"
        """Names what is learned here; weights of estimates say nothing of a vocabulary's."""

    def learned(self) -> dict[str, list[float]]:
        """Return what ``resume`` takes."""
        return self._forecaster.learned()

    def resume(self, learned: object) -> None:
        """Go on from what ``learned`` returned; anything else is ignored."""
        self._forecaster.resume(learned)

    def forecast(self, prompt: Prompt) -> Forecast:
        """Return what to expect of a prompt, its images aside."""
        forecast = self._forecaster.forecast(prompt.blocks, prompt.structure)
        return forecast._replace(tokens=forecast.tokens + prompt.fixed)

    def learn(self, prompt: Prompt, reported: int) -> None:
        """Take in what an engine reported of a prompt."""
        self._forecaster.learn(prompt.blocks, prompt.structure, reported - prompt.fixed)

    def prompt(
        self, request: MessagesRequest, model: EngineModel, *, hurry: bool = False
    ) -> Prompt:
        """Look up or count the texts of a request in normal form.

        In a ``hurry`` long new texts are sampled, not counted: next time they are new again.
        """
        said = entries(ChatPlan(request=request, model=model, num_ctx=None, max_tokens=1))
        tools = (request.tools if "tools" in model.capabilities else None) or []
        system = said.pop(0).text if said and said[0].role == "system" else None
        texts = self._texts(system, said, tools=bool(tools))
        blocks, unread = self._read(texts, at_most=SAMPLES * SAMPLE_CHARS if hurry else inf)
        if unread:
            blocks.append(self._sampled(unread))
        if tools:
            blocks.append(self._tools(tools))
        results = sum(entry.role == "tool" for entry in said)
        structure = (
            1,
            int(system is None),
            int(bool(tools)),
            len(said) - results,
            results,
            sum(len(entry.calls) for entry in said),
            len(tools),
        )
        images = sum(len(entry.images) for entry in said)
        return Prompt(blocks, structure, self._fixed(tools), images, bool(unread))

    def _texts(self, system: str | None, said: list[Entry], *, tools: bool) -> Iterator[str]:
        if system is not None or tools:
            yield system_segment(system or "", self._markup)
            yield self._markup.end
        yield from segments(said, self._markup)

    def _fixed(self, tools: list[Tool]) -> int:
        if self._vocabulary is None:
            return 0
        instructions = self._markup.tool_instructions if tools else 0
        return self._vocabulary.begin_tokens + instructions

    def _read(self, texts: Iterator[str], *, at_most: float) -> tuple[list[Block], str]:
        """Return the blocks of texts, and put together the new ones beyond ``at_most`` letters."""
        blocks: list[Block] = []
        unread: list[str] = []
        for text in texts:
            new = _text_key(text) not in self._blocks
            if new and len(text) > at_most:
                unread.append(text)
                continue
            if new:
                at_most -= len(text)
            blocks.append(self._text(text))
        return blocks, "".join(unread)

    def _text(self, text: str) -> Block:
        spread = 0.0 if self._vocabulary else TEXT_SPREAD
        return self._remembered(_text_key(text), lambda: Block((*self._counts(text), 0), spread))

    def _sampled(self, text: str) -> Block:
        pieces, times = excerpt(text, piece_chars=SAMPLE_CHARS, most_pieces=SAMPLES)
        counts = zip(*map(self._counts, pieces), strict=True)
        return Block((*(times * sum(each) for each in counts), 0), TEXT_SPREAD)

    def _tools(self, tools: list[Tool]) -> Block:
        return self._remembered(_tools_key(tools), lambda: self._new_tools(tools))

    def _new_tools(self, tools: list[Tool]) -> Block:
        counts = self._counts(tools_segment(tools, self._markup))
        tokens = sum(map(mul, self._usual, counts))
        return Block((*counts, tokens), 0.0 if self._markup.exact else TOOLS_SPREAD)

    def _counts(self, text: str) -> Sequence[float]:
        return (self._vocabulary.count(text),) if self._vocabulary else features(text)

    def _remembered(self, key: _Key, make: Callable[[], Block]) -> Block:
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = make()
            if len(self._blocks) > MAX_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return block


_encode = msgspec.json.Encoder().encode


def _text_key(text: str) -> _Key:
    return "text", hash(text), len(text)


def _key_of_tools(tools: list[Tool]) -> _Key:
    written = _encode(tools)
    return "tools", hash(written), len(written)


_tools_key = Remembered(_key_of_tools)


def _weights(markup: Markup, *, by_vocabulary: bool) -> tuple[Weight, ...]:
    """Return first weights: of texts, of tools beyond their text, of the structure."""
    if not by_vocabulary:
        return (*FEATURES.values(), TOOLS_WEIGHT, *GUESSED)
    if markup.exact:
        return (VOCABULARY_WEIGHT, (0.0, 0.0), *EXACT)
    return (VOCABULARY_WEIGHT, TOOLS_WEIGHT, *(MARKED if markup.begin else GUESSED))
