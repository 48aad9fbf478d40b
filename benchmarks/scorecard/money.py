"""Paid machines: none runs out of sight wherever llmctl dies, and none of others is touched."""

from collections.abc import AsyncIterator

from benchmarks.scorecard import suites
from benchmarks.scorecard.bench import lines
from benchmarks.scorecard.card import Figure, Run


async def crash_points(run: Run) -> AsyncIterator[Figure]:
    """Every point, blow and behaviour; the checks are those of the matrix's own test."""
    (line,) = await lines(run, "benchmarks.scorecard.matrix")
    failed, bills = line["failed"], line["failed_without_laptop"]
    yield Figure("crash-point matrix: cases", line["cases"], "cases", 910, at_least=True)
    yield Figure("crash-point matrix: failed", len(failed), "cases", 0, note="; ".join(failed[:3]))
    yield Figure("of those, bills beyond ttl + 60 s", bills, "cases", 0)


async def idempotent(run: Run) -> AsyncIterator[Figure]:
    """``down`` twice, of what is gone, ``up`` of one name at once."""
    counts = await suites.counted(
        run,
        "tests/integration/rent/test_killed.py",
        "tests/integration/state/test_store.py",
        "tests/e2e/rent/test_journey.py",
        only="two_at_once or asked_to_end or processes_at_once or up_status_down "
        "or ready_name_changes_nothing or name_is_one_machine",
    )
    for figure in suites.figures("repeats and races", counts, at_least=8):
        yield figure


async def foreign(run: Run) -> AsyncIterator[Figure]:
    """Random lives beside a hundred instances of somebody else."""
    counts = await suites.counted(run, "tests/matrix/test_random_lives.py")
    for figure in suites.figures("random lives", counts):
        yield figure
    counts = await suites.counted(run, "tests/integration/rent/test_markets.py", only="foreign")
    for figure in suites.figures("foreign instances over HTTP", counts):
        yield figure
