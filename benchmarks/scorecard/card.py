"""Figures, the items they belong to, and the sum they make."""

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


class Missing(Exception):
    """An item cannot be measured here; says why."""


@dataclass(frozen=True)
class Figure:
    """One measured value and the limit it has to keep."""

    name: str
    value: float
    unit: str
    limit: float
    at_least: bool = False
    """Whether the limit is the least instead of the most."""
    note: str = ""
    """What was wrong, in a few words."""

    @property
    def held(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass
class Run:
    """How an item is measured."""

    short: bool
    """A smaller number of everything."""
    directory: Path
    """Of this item alone."""

    def many(self, full: int, short: int) -> int:
        return short if self.short else full


Measure = Callable[[Run], AsyncIterator[Figure]]


@dataclass(frozen=True)
class Item:
    """One line of the scorecard."""

    key: str
    weight: int
    title: str
    measure: Measure
    gate: bool = False
    """Whether a release needs it whatever the sum."""
    slow: bool = False
    """Left out of the short form."""


@dataclass
class Outcome:
    """What became of an item."""

    item: Item
    figures: list[Figure] = field(default_factory=list)
    missing: str = ""

    @property
    def held(self) -> bool:
        return bool(self.figures) and not self.missing and all(f.held for f in self.figures)

    @property
    def points(self) -> int:
        return self.item.weight if self.held else 0


async def measure(item: Item, *, short: bool) -> Outcome:
    """Measure one item and print each figure as it becomes known."""
    outcome = Outcome(item)
    with tempfile.TemporaryDirectory(prefix=f"llmctl-{item.key}-") as directory:
        try:
            async for figure in item.measure(Run(short, Path(directory))):
                outcome.figures.append(figure)
                print(json_line(item, figure), flush=True)
        except Missing as reason:
            outcome.missing = str(reason)
        except Exception as failure:  # one item that breaks is one item lost
            outcome.missing = f"it broke: {type(failure).__name__}: {failure}"[:300]
    return outcome


def json_line(item: Item, figure: Figure) -> str:
    """Return a figure as one JSON line."""
    line: dict[str, Any] = {
        "item": item.key,
        "name": figure.name,
        "value": round(figure.value, 3),
        "unit": figure.unit,
        "limit": figure.limit,
        "at_least": figure.at_least,
        "held": figure.held,
        "git": revision(),
        "machine": machine(),
    }
    return json.dumps(line | ({"note": figure.note} if figure.note else {}))


@cache
def revision() -> str:
    """Return the commit that is measured, with a + where files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"


@cache
def machine() -> str:
    cores = os.cpu_count()
    return f"{platform.system()} {platform.machine()}, {cores} cores, {platform.python_version()}"


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the table with the weighted sum, and what failed or is missing with its reason."""
    outcomes = list(outcomes)
    lines = [f"{'item':5}{'weight':>7}{'points':>7}  result"]
    for outcome in outcomes:
        item = outcome.item
        name = f"{item.key}{'*' if item.gate else ''}"
        lines.append(f"{name:5}{item.weight:7}{outcome.points:7}  {item.title}: {said(outcome)}")
    points, of = sum(o.points for o in outcomes), sum(o.item.weight for o in outcomes)
    gates = [o.item.key for o in outcomes if o.item.gate and not o.held]
    lines.append(f"{'sum':5}{of:7}{points:7}  * gates: {', '.join(gates) or 'none'} not held")
    return "\n".join(lines)


def said(outcome: Outcome) -> str:
    """Return an outcome in words."""
    if outcome.missing:
        return f"not measured: {outcome.missing}"
    failed = [figure for figure in outcome.figures if not figure.held]
    if not failed:
        return f"held, {len(outcome.figures)} figures"
    return "; ".join(_failure(figure) for figure in failed)


def _failure(figure: Figure) -> str:
    bound = ">=" if figure.at_least else "<="
    note = f" ({figure.note})" if figure.note else ""
    return f"{figure.name} {figure.value:.4g} {figure.unit}, not {bound} {figure.limit:g}{note}"
