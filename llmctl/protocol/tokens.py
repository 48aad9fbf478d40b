"""Prompt tokens of a request before the engine has counted them.

By the model's own vocabulary where it is known, else by cheap character counts; both corrected by
what the engine reported for earlier prompts. A text that was seen before is not looked at again,
so a turn of a conversation pays for its new text only.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple

import msgspec

from llmctl.protocol import estimate
from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.dialogue import Entry, entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.forecast import Block, Forecaster
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
"""Texts remembered per model; only their counts, 1 kB each at most."""
MAX_MODELS = 8
MAX_VOCABULARIES = 3
"""Vocabularies in memory, 20 to 60 MB each; of more models only the latest keep theirs."""

CAUTION = 0.4
"""Standard deviations a count is raised by: an overflow costs more than a few spare tokens."""
CERTAINTY = 3.0
"""Standard deviations below which a prompt all but certainly is not."""

_encode = msgspec.json.Encoder().encode


class Measure(NamedTuple):
    """How long a prompt is, in tokens."""

    tokens: int
    """Best guess, a little more where it is unsure."""
    least: int
    """It is all but certainly no shorter."""


class _Overhead(NamedTuple):
    """Tokens that templates write beside the texts: mean and standard deviation.

    Per prompt, prompt without system, prompt with tools, message, tool result, call and tool.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]


_EXACT = _Overhead((0.0,) * 7, (1, 15, 2, 0.1, 0.5, 0.5, 0.1))
_MARKED = _Overhead((0.0,) * 7, (2, 15, 60, 1, 3, 4, 2))
_GUESSED = _Overhead((3, 10, 60, 4.5, 8, 10, 3), (4, 15, 60, 2.5, 6, 8, 4))

_TEXT_SPREAD = 0.05
_TOOLS_SPREAD = 0.06
"""Templates write tools in different ways."""


class TokenCounter:
    """Counts prompts for any number of models; never waits, not thread-safe."""

    def __init__(self) -> None:
        self._vocabularies: OrderedDict[str, Vocabulary] = OrderedDict()
        self._models: OrderedDict[str, _ModelTokens] = OrderedDict()
        self._learned: dict[str, dict[str, list[float]]] = {}

    def install(self, model_digest: str, vocabulary: Vocabulary | None) -> None:
        """Count by ``vocabulary`` from now on; None counts by estimates."""
        self._keep(self._models.pop(model_digest, None))
        self._vocabularies.pop(model_digest, None)
        if vocabulary is not None:
            self._vocabularies[model_digest] = vocabulary
            if len(self._vocabularies) > MAX_VOCABULARIES:
                self.install(next(iter(self._vocabularies)), None)

    def has_vocabulary(self, model_digest: str) -> bool:
        """Say whether counts for a model come from its own vocabulary."""
        return model_digest in self._vocabularies

    def count(self, request: MessagesRequest, model: EngineModel) -> int:
        """Return the prompt tokens of a request in normal form, as the engine will report them."""
        return self.measure(request, model).tokens

    def measure(self, request: MessagesRequest, model: EngineModel) -> Measure:
        """Return ``count`` together with the least the prompt can be."""
        return self._of(model).measure(request, model)

    def learn(self, request: MessagesRequest, model: EngineModel, reported: int) -> None:
        """Take in the prompt tokens an engine reported; cached ones must be included.

        Reports for prompts with images are ignored, and single ones that are far out.
        """
        if reported > 0:
            self._of(model).learn(request, model, reported)

    def export_state(self) -> dict[str, Any]:
        """Return what was learned, some kB of JSON values."""
        for tokens in self._models.values():
            self._keep(tokens)
        return {"version": estimate.VERSION, "models": self._learned}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``export_state`` returned; anything unusable is ignored."""
        models = state.get("models")
        if state.get("version") != estimate.VERSION or not isinstance(models, dict):
            return
        self._learned = {
            key: learned for key, learned in models.items() if _usable(learned)
        }
        self._models.clear()

    def _of(self, model: EngineModel) -> "_ModelTokens":
        tokens = self._models.get(model.digest)
        if tokens is None:
            tokens = _ModelTokens(model, self._vocabularies.get(model.digest))
            tokens.resume(self._learned.get(tokens.key))
            self._models[model.digest] = tokens
            if len(self._models) > MAX_MODELS:
                self._keep(self._models.popitem(last=False)[1])
        self._models.move_to_end(model.digest)
        if model.digest in self._vocabularies:
            self._vocabularies.move_to_end(model.digest)
        return tokens

    def _keep(self, tokens: "_ModelTokens | None") -> None:
        if tokens is not None:
            self._learned[tokens.key] = tokens.learned()


class _ModelTokens:
    """Counts for one model, by its vocabulary or by estimates."""
