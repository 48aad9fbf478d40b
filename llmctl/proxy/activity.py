"""What is going on now, and went on in the last quarter of an hour.

Requests only add to integers here; what follows from them is worked out when somebody looks.
"""

from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from llmctl.core.clock import Clock
from llmctl.core.usage import ANSWERED, CacheOutcome, Usage
from llmctl.ledger.schema import latency_step

if TYPE_CHECKING:
    from llmctl.proxy.broadcast import Generation
    from llmctl.proxy.messages import Record

STEP_S = 10
STEPS = 90
FAILURES = 50
LEFT = "client_gone"
"""Not a failure: the client had what it wanted, or wanted it no longer."""


class Failure(Struct, frozen=True, kw_only=True):
    """A request that failed."""

    at: float
    """Arrival, seconds since the epoch, UTC."""
    request_id: str
    tenant: str
    model: str
    status: int
    type: str
    message: str


class Step:
    """Ten seconds, numbered from the beginning of the monotonic clock."""

    __slots__ = ("cached", "engine", "failed", "first_token", "looked", "number", "tokens")

    def __init__(self) -> None:
        self.begin(-1)

    def begin(self, number: int) -> None:
        """Forget an older step in the same place."""
        self.number = number
        self.cached = self.engine = self.failed = 0
        """Requests by what answered them."""
        self.looked = 0
        """Requests that looked into the cache."""
        self.tokens = 0.0
        """That engines made in this time, whether or not their answers are complete."""
        self.first_token: Counter[int] = Counter()
        """Times to the first token, of answers an engine made, by ``latency_step``."""


class Activity:
    """Open requests, the recent past in steps, and the last failures."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring = [Step() for _ in range(STEPS)]
        self.open: set[Record] = set()
        """Requests to ``/v1/messages`` that are being answered."""
        self.failures: deque[Failure] = deque(maxlen=FAILURES)

    def finished(self, record: "Record", usage: Usage, ended: float) -> None:
        """Count a request that ended at ``ended`` on the monotonic clock."""
        self.open.discard(record)
        step = self._at(int(ended // STEP_S))
        outcome = usage.cache
        step.looked += outcome is not CacheOutcome.BYPASS
        if usage.error and usage.error != LEFT:
            step.failed += 1
            self.failures.append(_failure(usage, record.reason))
            return
        if outcome in ANSWERED:
            step.cached += 1
            return
        step.engine += 1
        if usage.first_token_ms is not None:
            step.first_token[latency_step(usage.first_token_ms)] += 1

    def generated(self, generation: "Generation") -> None:
        """Spread the tokens of a generation that has ended over the time it took."""
        if generation.first_content_at is None:
            return
        now = self._clock.monotonic()
        for number, tokens in _spread(generation.tokens, generation.first_content_at, now):
            self._at(number).tokens += tokens

    def steps(self) -> list[Step]:
        """Return the last quarter of an hour, oldest first; the last step is not over yet."""
        current = self._number()
        return [self._at(number) for number in range(current - STEPS + 1, current + 1)]

    def tokens_by_step(self, running: "set[Generation]") -> list[float]:
        """Return the tokens made in each of ``steps``, those of ``running`` included."""
        now = self._clock.monotonic()
        tokens = [step.tokens for step in self.steps()]
        oldest = self._number() - STEPS + 1
        for generation in running:
            if generation.first_content_at is not None:
                for number, share in _spread(generation.tokens, generation.first_content_at, now):
                    tokens[number - oldest] += share
        return tokens

    @property
    def began(self) -> float:
        """When the oldest step began, seconds since the epoch."""
        age_s = self._clock.monotonic() - (self._number() - STEPS + 1) * STEP_S
        return self._clock.now() - age_s

    def _number(self) -> int:
        return int(self._clock.monotonic() // STEP_S)

    def _at(self, number: int) -> Step:
        step = self._ring[number % STEPS]
        if step.number < number:
            step.begin(number)
        return step


def _failure(usage: Usage, reason: str) -> Failure:
    return Failure(
        at=usage.at,
        request_id=usage.request_id,
        tenant=usage.tenant,
        model=usage.model_asked,
        status=usage.status,
        type=usage.error,
        message=reason,
    )


def _spread(tokens: int, began: float, ended: float) -> Iterator[tuple[int, float]]:
    """Yield ``(step number, tokens)`` of the steps that are still kept."""
    took_s = ended - began
    first, last = int(began // STEP_S), int(ended // STEP_S)
    if took_s <= 0:
        yield last, float(tokens)
        return
    for number in range(max(first, last - STEPS + 1), last + 1):
        begins, ends = max(began, number * STEP_S), min(ended, (number + 1) * STEP_S)
        yield number, tokens * (ends - begins) / took_s
