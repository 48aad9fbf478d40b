"""What the semantic tier would have done, or did, to this operator's traffic."""

from collections.abc import AsyncIterator, Iterable

from msgspec import Struct

from llmctl.semantic.interval import at_most, wilson
from llmctl.semantic.journal import PAGE, START, Journal
from llmctl.semantic.records import ENTRY, OUTCOME, Outcome, Placed, Seal, read_entry, read_outcome


class SemanticReport(Struct, frozen=True, kw_only=True):
    """Outcomes of the last thirty days, as far as the journal still has them."""

    entries: int
    """Questions that may be candidates."""
    served: int
    """Answers given to another question than their own."""
    compared: int
    """Candidates whose answer was compared with the engine's."""
    same: int
    """Of those, how many amounted to the same."""
    would_serve: int
    """Of those compared, how many the error bound would have let through, or picked to check."""
    wrong: int
    """Of ``would_serve``, how many were another answer than the engine's."""
    wrong_share: float | None
    """``wrong`` of ``would_serve``; None where nothing was compared."""
    wrong_low: float
    wrong_high: float
    """Wilson's 95 % interval of the true share."""
    error_rate: float
    """The share you accept."""
    bound_met: bool | None
    """Whether the share is shown to be below, or above, the accepted one; None if neither yet."""
    unreadable: int
    """Rows that were changed, moved, or sealed with another key."""
    since: float | None
    """First outcome, seconds since the epoch."""
    recommendation: str
    """``on``, ``off`` or ``shadow``, and why, in a sentence."""

    @property
    def is_empty(self) -> bool:
        """Whether there has been no semantic tier here, as far as can be seen."""
        return not (self.entries or self.served or self.compared or self.unreadable)


async def read_report(journal: Journal, seal: Seal, *, error_rate: float) -> SemanticReport:
    """Read the journal, which has been started, and judge what is in it."""
    outcomes: list[Outcome] = []
    seen: set[bytes] = set()
    entries = unreadable = 0
    async for kind, placed in _rows(journal):
        if kind == ENTRY:
            known = read_entry(placed, seal) is not None
            entries, unreadable = entries + known, unreadable + (not known)
        elif (outcome := read_outcome(placed, seal)) is None:
            unreadable += 1
        elif placed.key not in seen:
            seen.add(placed.key)
            outcomes.append(outcome)
    return judge(outcomes, entries=entries, unreadable=unreadable, error_rate=error_rate)


def judge(
    outcomes: Iterable[Outcome], *, entries: int, unreadable: int, error_rate: float
) -> SemanticReport:
    """Count outcomes and say what follows from them."""
    outcomes = list(outcomes)
    compared = [outcome for outcome in outcomes if outcome.same is not None]
    allowed = [outcome for outcome in compared if outcome.servable]
    wrong, total = sum(not outcome.same for outcome in allowed), len(allowed)
    low, high = wilson(wrong, total)
    met = True if high <= error_rate else False if low > error_rate else None
    return SemanticReport(
        entries=entries,
        served=len(outcomes) - len(compared),
        compared=len(compared),
        same=sum(bool(outcome.same) for outcome in compared),
        would_serve=total,
        wrong=wrong,
        wrong_share=wrong / total if total else None,
        wrong_low=low,
        wrong_high=high,
        error_rate=error_rate,
        bound_met=met,
        unreadable=unreadable,
        since=min((outcome.at for outcome in outcomes), default=None),
        recommendation=_recommend(met, wrong, total, error_rate),
    )


def _recommend(met: bool | None, wrong: int, total: int, error_rate: float) -> str:
    seen = f"{wrong} of {total} it would have served were wrong"
    if met:
        return f"on: {seen}, shown to be at most {error_rate:.2%}"
    if met is False:
        return f"off: {seen}, more than the {error_rate:.2%} you accept"
    if not total:
        return "shadow: so far none of its answers was compared with the engine's"
    return f"shadow: {seen}; some {_missing(wrong, total, error_rate)} more must be right"


def _missing(wrong: int, total: int, error_rate: float) -> int:
    """Return how many right outcomes in a row would show that the bound is met."""
    more = 1
    while at_most(wrong, total + more, 0.975) > error_rate:
        more *= 2
    low = more // 2
    while more - low > 1:
        middle = (low + more) // 2
        low, more = (
            (middle, more) if at_most(wrong, total + middle, 0.975) > error_rate else (low, middle)
        )
    return more


async def _rows(journal: Journal) -> AsyncIterator[tuple[int, Placed]]:
    for placed in await journal.indexed():
        yield ENTRY, placed
    for kind in (ENTRY, OUTCOME):
        after = START
        while page := await journal.read(kind, after):
            after = page[-1].position
            for placed in page:
                yield kind, placed
            if len(page) < PAGE:
                break
