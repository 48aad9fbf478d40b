"""One run of ``bench``: which model, within which limits, and what comes of it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from llmctl.backend.base import Engine, facts_of
from llmctl.backend.models import choose
from llmctl.config.load import Loaded
from llmctl.core.clock import Clock
from llmctl.core.errors import BackendError
from llmctl.core.money import HOUR_S, MicroUsd, cost
from llmctl.core.rental import Rental, Step, StepState
from llmctl.core.reports_bench import Bench, Figures, Mix
from llmctl.ops.bench.measure import Measuring, Target
from llmctl.ops.bench.money import worked_out
from llmctl.ops.prices import load_prices
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.proxy.pipeline import DEFAULT_NUM_CTX

_ASKED = "claude-sonnet-5"


class Limits(Struct, frozen=True, kw_only=True):
    """What a run may take."""

    seconds: float = 300.0
    usd: MicroUsd | None = None
    """Of what the machine costs meanwhile; None where it costs nothing, or its price is unknown."""

    def within(self, usd_per_hour: MicroUsd | None) -> tuple[float, str]:
        """Return the seconds it may take, and the word for what ends it then."""
        if self.usd is None or not usd_per_hour:
            return self.seconds, "time"
        affordable = self.usd * HOUR_S / usd_per_hour
        return (affordable, "money") if affordable < self.seconds else (self.seconds, "time")


class Order(Struct, frozen=True, kw_only=True):
    """What is to be measured."""

    loaded: Loaded
    rental: Rental | None = None
    """The machine the engine is on, where it is on record."""
    usd_per_hour: MicroUsd | None = None
    mix: Mix = Mix()
    limits: Limits = Limits()


async def bench(
    engine: Engine, order: Order, clock: Clock, report: Callable[[Step], None]
) -> Bench:
    """Measure one engine.

    Raises ``BackendError`` where it has no model, or fails before anything is known.
    """
    began, at = clock.monotonic(), clock.now()

    def say(text: str, state: StepState = StepState.BEGIN) -> None:
        elapsed = clock.monotonic() - began
        spent = _spent(order.usd_per_hour, elapsed) or MicroUsd(0)
        report(Step(name="bench", state=state, text=text, elapsed_s=elapsed, spent=spent))

    target = await _target(engine, order.loaded)
    measuring = Measuring(target, say, now=clock.monotonic)
    stopped = await _within(measuring, order, say)
    seconds = clock.monotonic() - began
    result = _result(order, target, measuring.figures, at)
    say("measured", StepState.DONE)
    return replace(
        result,
        seconds=seconds,
        spent_usd=_spent(order.usd_per_hour, seconds),
        stopped=stopped,
    )


async def _within(measuring: Measuring, order: Order, say: Callable[[str, StepState], None]) -> str:
    """Measure until all is known or the limit is reached; return what it was."""
    seconds, word = order.limits.within(order.usd_per_hour)
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            await measuring.run()
    except TimeoutError:
        say(f"the {word} is used up; what was measured counts", StepState.WARNING)
        if measuring.figures == Figures():
            more = "--max-time 15m" if word == "time" else "--max-cost 1.00"
            raise BackendError(
                f"nothing was measured within {seconds:.0f} s, which the {word} allows",
                hint=f"llmctl bench {more}",
            ) from None
        return f"the {word} was used up after {seconds:.0f} s"
    except BackendError as failure:
        if measuring.figures == Figures():
            raise
        say(failure.message, StepState.WARNING)
        return failure.message
    return ""


async def _target(engine: Engine, loaded: Loaded) -> Target:
    """Return the model that would answer Claude Code, asked for as the proxy asks for it."""
    config = loaded.config.model
    models: list[EngineModel] = []
    try:
        models = await engine.discover()
        _, model = choose(config.name or _ASKED, [models], config)[0]
    except ApiError as failure:
        hint = f"llmctl bench --model {models[0].name}" if models else "llmctl doctor"
        raise BackendError(failure.message, hint=hint) from failure
    return Target(
        engine=engine,
        model=model,
        num_ctx=_window(model, config.num_ctx),
        keep_alive=config.keep_alive,
    )


def _window(model: EngineModel, configured: int | None) -> int | None:
    if model.context_length is None:
        return configured
    return min(configured or DEFAULT_NUM_CTX, model.context_length)


def _result(order: Order, target: Target, figures: Figures, at: float) -> Bench:
    rental, config = order.rental, order.loaded.config
    table = load_prices(config.cost.prices)
    cloud = table.price_of(
        config.cost.compare or table.default, datetime.fromtimestamp(at, UTC).date()
    )
    version = facts_of(target.engine).version
    return Bench(
        at=at,
        name=rental.name if rental else target.engine.name,
        provider=rental.provider.value if rental else "",
        instance_id=rental.instance_id if rental else None,
        gpu=rental.offer.gpu_name if rental and rental.offer else "",
        engine=f"{target.engine.kind} {version}".strip(),
        model=target.model.name,
        num_ctx=target.num_ctx,
        usd_per_hour=order.usd_per_hour,
        figures=figures,
        money=worked_out(figures, order.mix, order.usd_per_hour, cloud),
    )


def _spent(usd_per_hour: MicroUsd | None, seconds: float) -> MicroUsd | None:
    return None if usd_per_hour is None else cost(usd_per_hour, seconds)
