"""What ``bench`` measures, and what follows from it."""

from msgspec import Struct

from llmctl.core.money import MicroUsd


class Mix(Struct, frozen=True, kw_only=True):
    """One request of the kind that prices are worked out for, in tokens."""

    prompt: int = 20_000
    """The whole prompt."""
    fresh: int = 500
    """The part of it that the engine has not seen yet."""
    answer: int = 250


class Level(Struct, frozen=True, kw_only=True):
    """So many requests at the same time."""

    concurrency: int
    tokens_per_s: float
    """Of all of them together, from the first request to the end of the last answer."""
    each_tokens_per_s: float | None
    """Of one, from its first token to its last; the median."""
    first_token_ms: float
    """The median."""
    completion_tokens: int
    seconds: float


class Prefill(Struct, frozen=True, kw_only=True):
    """Reading a long prompt; medians."""

    prompt_tokens: int
    first_token_ms: float
    tokens_per_s: float


class Figures(Struct, frozen=True, kw_only=True):
    """What was measured; None for what there was no time for."""

    load_s: float | None = None
    """Until the first answer, with the loading of the model where that was needed."""
    first_token_ms: float | None = None
    """Of a short prompt, alone; the median."""
    cold: Prefill | None = None
    """Of a prompt that nothing like it was read before."""
    warm: Prefill | None = None
    """Of one of which only the end is new."""
    levels: list[Level] = []

    @property
    def fastest(self) -> Level | None:
        """The level at which most was written."""
        return max(self.levels, key=lambda level: level.tokens_per_s, default=None)


class BenchMoney(Struct, frozen=True, kw_only=True):
    """What the figures mean at a price; for requests of ``mix``, at the fastest level."""

    mix: Mix
    usd_per_hour: MicroUsd
    concurrency: int
    requests_per_hour: float
    """With the machine busy all the time."""
    usd_per_million_tokens: MicroUsd
    """Prompt and answer."""
    usd_per_million_answer_tokens: MicroUsd
    """If it did nothing but write."""
    cloud_model: str
    cloud_usd_per_million_tokens: MicroUsd
    """For the same tokens; what the engine has seen counts as read from the API's prompt cache."""
    break_even_utilisation: float
    """Share of the hour it has to be busy for the two to cost the same; above 1 it never does."""
    break_even_requests_per_hour: float

    @property
    def saved_share(self) -> float:
        """Of the cloud's price, with the machine busy all the time; below 0 where that is less."""
        return 1 - self.usd_per_million_tokens / max(self.cloud_usd_per_million_tokens, 1)


class Bench(Struct, frozen=True, kw_only=True):
    """One run, as it is kept."""

    at: float
    """Unix time of its start."""
    name: str
    """The instance, or the engine's address."""
    provider: str = ""
    instance_id: str | None = None
    gpu: str = ""
    engine: str = ""
    """Kind and version."""
    model: str
    num_ctx: int | None = None
    usd_per_hour: MicroUsd | None = None
    figures: Figures
    money: BenchMoney | None = None
    """None where no price is known, or too little was measured."""
    seconds: float = 0.0
    spent_usd: MicroUsd | None = None
    """What the machine cost meanwhile."""
    stopped: str = ""
    """Why it ended before everything was measured; empty where it did not."""
