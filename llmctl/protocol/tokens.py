"""Prompt tokens of a request before the engine has counted them.

By the model's own vocabulary where it is known, else by cheap character counts; both corrected by
what the engine reported for earlier prompts.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.modeltokens import ModelTokens
from llmctl.protocol.vocabulary import Vocabulary

IMAGE_TOKENS = 768
"""What an image counts: the figure Ollama itself reckons with."""
MAX_MODELS = 8
"""Models whose texts are remembered."""
MAX_LEARNED = 64
"""Models whose weights are remembered."""
MAX_VOCABULARIES = 3
"""Vocabularies in memory, 20 to 60 MB each."""

CAUTION = 0.4
"""Standard deviations a count is raised by: an overflow costs more than a few spare tokens."""
CERTAINTY = 3.0
"""Standard deviations below the expected where a prompt all but certainly is not."""

STATE_VERSION = 1


class Measure(NamedTuple):
    """How long a prompt is, in tokens."""

    tokens: int
    """Best guess, a little more where it is unsure."""
    least: int
    """It is all but certainly no shorter."""
    sampled: bool
    """Whether of some new text only a part was read."""


class TokenCounter:
    """Counts prompts for any number of models. Pure computation, not thread-safe."""

    def __init__(self) -> None:
        self._vocabularies: OrderedDict[str, Vocabulary] = OrderedDict()
        self._models: OrderedDict[str, ModelTokens] = OrderedDict()
        self._learned: OrderedDict[str, dict[str, list[float]]] = OrderedDict()

    def install(self, model_digest: str, vocabulary: Vocabulary | None) -> None:
        """Count by ``vocabulary`` from now on; by estimates with None.

        Of more than ``MAX_VOCABULARIES`` the one not used for longest is dropped.
        """
        self._retire(model_digest)
        self._vocabularies.pop(model_digest, None)
        if vocabulary is not None:
            self._vocabularies[model_digest] = vocabulary
            if len(self._vocabularies) > MAX_VOCABULARIES:
                self.install(next(iter(self._vocabularies)), None)

    def has_vocabulary(self, model_digest: str) -> bool:
        """Say whether a model is counted by its own vocabulary."""
        return model_digest in self._vocabularies

    def count(self, request: MessagesRequest, model: EngineModel) -> int:
        """Return the prompt tokens of a request in normal form, as the engine will report them."""
        return self.measure(request, model).tokens

    def measure(
        self, request: MessagesRequest, model: EngineModel, *, hurry: bool = False
    ) -> Measure:
        """Return ``count``, and the least that the prompt can be.

        In a ``hurry`` long new texts are only sampled; new tools are counted all the same.
        """
        tokens = self._of(model)
        prompt = tokens.prompt(request, model, hurry=hurry)
        forecast = tokens.forecast(prompt)
        images = prompt.images * IMAGE_TOKENS
        doubt = forecast.variance**0.5
        return Measure(
            tokens=max(1, round(forecast.tokens + CAUTION * doubt) + images),
            least=max(1, int(forecast.tokens - CERTAINTY * doubt)),
            sampled=prompt.sampled,
        )

    def learn(self, request: MessagesRequest, model: EngineModel, reported: int) -> None:
        """Take in the prompt tokens an engine reported, cached ones included.

        Ignored are prompts with images and single reports that are far off the expected.
        """
        tokens = self._of(model)
        prompt = tokens.prompt(request, model)
        if reported > 0 and not prompt.images:
            tokens.learn(prompt, reported)

    def export_state(self) -> dict[str, Any]:
        """Return what was learned, as JSON values: 1 kB for each model."""
        for tokens in self._models.values():
            self._remember(tokens)
        return {"version": STATE_VERSION, "models": dict(self._learned)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``export_state`` returned; what does not fit is ignored."""
        models = state.get("models")
        if state.get("version") == STATE_VERSION and isinstance(models, dict):
            self._learned = OrderedDict(models)
            self._models.clear()

    def _of(self, model: EngineModel) -> ModelTokens:
        tokens = self._models.get(model.digest)
        if tokens is None:
            tokens = ModelTokens(model, self._vocabularies.get(model.digest))
            tokens.resume(self._learned.get(tokens.key))
            self._models[model.digest] = tokens
            if len(self._models) > MAX_MODELS:
                self._retire(next(iter(self._models)))
        self._models.move_to_end(model.digest)
        if model.digest in self._vocabularies:
            self._vocabularies.move_to_end(model.digest)
        return tokens

    def _retire(self, model_digest: str) -> None:
        tokens = self._models.pop(model_digest, None)
        if tokens is not None:
            self._remember(tokens)

    def _remember(self, tokens: ModelTokens) -> None:
        self._learned[tokens.key] = tokens.learned()
        self._learned.move_to_end(tokens.key)
        if len(self._learned) > MAX_LEARNED:
            self._learned.popitem(last=False)
