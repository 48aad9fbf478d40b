"""The texts of a prompt, and their tokens for one model.

A text that was seen before is not looked at again, so a turn of a conversation pays for its new
text only.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.dialogue import Entry, entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.estimate import FEATURES, features
from llmctl.protocol.forecast import Block, Forecast, Forecaster
from llmctl.protocol.templates import (
    Markup,
    markup_of,
    segments,
    system_segment,
    tools_segment,
)
from llmctl.protocol.vocabulary import Vocabulary

IMAGE_TOKENS = 768
"""What an image counts: the figure Ollama itself reckons with."""
MAX_BLOCKS = 4096
"""Texts remembered per model: their counts, 1 kB each at most, not the texts."""

_encode = msgspec.json.Encoder().encode


class Overhead(NamedTuple):
    """Tokens that a template adds to the texts: mean and standard deviation.

    Per prompt, prompt without a system message, prompt with tools, message, tool result, call and
    tool.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]


EXACT = Overhead((0.0,) * 7, (1, 15, 2, 0.1, 0.5, 0.5, 0.1))
MARKED = Overhead((0.0,) * 7, (2, 15, 60, 1, 3, 4, 2))
GUESSED = Overhead((3, 10, 60, 4.5, 8, 10, 3), (4, 15, 60, 2.5, 6, 8, 4))

TEXT_SPREAD = 0.04
"""How far an estimate of one text is off after all learning, as a share."""
TOOLS_SPREAD = 0.06
"""The same for tools, which templates write in different ways, with a vocabulary or without."""
VOCABULARY_SPREAD = 0.001


class Prompt(NamedTuple):
    """A request as far as it can be counted."""

    blocks: list[Block]
    structure: tuple[float, ...]
    """Counts of what ``Overhead`` names."""
    images: int


class ModelTokens:
    """Counts prompts for one model."""

    def __init__(self, model: EngineModel, vocabulary: Vocabulary | None) -> None:
        self._vocabulary = vocabulary
        self._markup = markup_of(model, vocabulary.special if vocabulary else frozenset())
        self._blocks: OrderedDict[tuple[str, int, int], Block] = OrderedDict()
        mean, spread = _weights(vocabulary, self._markup)
        self.key = f"{model.digest}{'/vocabulary' if vocabulary else ''}"
        """Names what is learned here; an estimate's weights say nothing of a vocabulary's."""
        self.forecaster = Forecaster(mean, spread)

    def prompt(self, request: MessagesRequest, model: EngineModel) -> Prompt:
        """Look up or count the texts of a request in normal form."""
        said = entries(ChatPlan(request=request, model=model, num_ctx=None, max_tokens=1))
        tools = request.tools if "tools" in model.capabilities else None
        system = said.pop(0).text if said and said[0].role == "system" else None
        blocks = [self._text(text) for text in self._texts(system, said, tools=bool(tools))]
        if tools:
            blocks.append(self._tools(tools))
        results = sum(entry.role == "tool" for entry in said)
        structure = (
            1,
            system is None,
            bool(tools),
            len(said) - results,
            results,
            sum(len(entry.calls) for entry in said),
            len(tools or ()),
        )
        return Prompt(blocks, structure, sum(len(entry.images) for entry in said))

    def forecast(self, prompt: Prompt) -> Forecast:
        """Return what to expect of a prompt, its images aside."""
        return self.forecaster.forecast(prompt.blocks, prompt.structure)

    def _texts(self, system: str | None, said: list[Entry], *, tools: bool) -> Iterator[str]:
        if system is not None or tools:
            yield system_segment(system or "", self._markup)
            yield self._markup.end
        yield from segments(said, self._markup)

    def _text(self, text: str) -> Block:
        spread = 0.0 if self._vocabulary else TEXT_SPREAD
        return self._remembered("text", text, lambda: Block(self._counts(text), spread))

    def _tools(self, tools: list[Tool]) -> Block:
        return self._remembered("tools", _encode(tools), lambda: self._new_tools(tools))

    def _new_tools(self, tools: list[Tool]) -> Block:
        counts = self._counts(tools_segment(tools, self._markup))
        return Block(counts, 0.0 if self._markup.exact else TOOLS_SPREAD)

    def _counts(self, text: str) -> Sequence[float]:
        return (self._vocabulary.count(text),) if self._vocabulary else features(text)

    def _remembered(self, kind: str, content: str | bytes, make: Callable[[], Block]) -> Block:
        # Python keys its hashes afresh in every process, so nobody can make two texts collide
        key = (kind, hash(content), len(content))
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = make()
            if len(self._blocks) > MAX_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return block


def _weights(
    vocabulary: Vocabulary | None, markup: Markup
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the first weights of a model's counts and structure, and their spread."""
    if vocabulary is None:
        texts, spreads = zip(*FEATURES.values(), strict=True)
        return texts + GUESSED.mean, spreads + GUESSED.spread
    overhead = EXACT if markup.exact else MARKED if markup.begin else GUESSED
    prompt, without_system, with_tools, *others = overhead.mean
    mean = (
        1.0,
        prompt + vocabulary.begin_tokens,
        without_system,
        with_tools + markup.tool_instructions,
        *others,
    )
    return mean, (VOCABULARY_SPREAD, *overhead.spread)
