"""What cloud APIs charge for tokens: a dated table, and what tokens would have cost there.

The table is ``prices.toml`` beside this file; an operator's own (``cost.prices``) comes first.
"""

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from llmctl.core.errors import ConfigError
from llmctl.core.money import MicroUsd, micro_usd

MILLION = 1_000_000
BUILT_IN = Path(__file__).with_name("prices.toml")
_DATED = re.compile(r"[-@](\d{8}|\d{4}-\d{2}-\d{2}|latest)$")
_MARKED = re.compile(r"\[[^\]]*\]$")


class CloudPrice(Struct, frozen=True, kw_only=True):
    """The price of one model, micro-dollars per million tokens."""

    model: str
    input: MicroUsd
    """Prompt tokens that no prompt cache knows."""
    output: MicroUsd
    cache_read: MicroUsd
    """Prompt tokens that come from the API's own prompt cache."""
    cache_write: MicroUsd
    """Prompt tokens that are written to it."""
    since: date | None = None
    """First day of this price; None for the oldest that is known."""
    source: str
    """Where it was read."""
    checked: date | None = None
    """When it was read."""
    assumed: bool = False
    """The name that was asked for is not in the table: this is its family's, or the default."""

    def of(self, *, prompt: int, completion: int, cached: int = 0, written: int = 0) -> MicroUsd:
        """Return what tokens cost, to the nearest micro-dollar; ``prompt`` holds the other two."""
        fresh = max(prompt - cached - written, 0)
        total = fresh * self.input + completion * self.output
        total += cached * self.cache_read + written * self.cache_write
        return MicroUsd((total + MILLION // 2) // MILLION)


class _Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str
    input: str | float
    output: str | float
    cache_read: str | float | None = None
    cache_write: str | float | None = None
    aliases: list[str] = []
    since: date | None = None
    source: str = ""


class _Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    checked: date | None = None
    note: str = ""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    price: list[_Row] = []
    families: dict[str, str] = {}
    sources: dict[str, _Source] = {}
    default: str | None = None


class PriceTable:
    """Prices by name and day. Immutable."""

    def __init__(
        self,
        rows: Mapping[str, Sequence[CloudPrice]],
        *,
        families: Mapping[str, str],
        default: str,
    ) -> None:
        self._rows = rows
        self._families = families
        self.default = default
        """The model that counts for names which are nowhere in the table."""

    def price_of(self, model: str, at: date) -> CloudPrice:
        """Return the price of a model on a day; ``assumed`` where the name has none of its own."""
        name = _plain(model)
        if (found := self._on(name, at)) is not None:
            return found
        family = next((self._families[each] for each in self._families if _of(name, each)), None)
        stand_in = self._on(family or self.default, at) or self._on(self.default, at)
        assert stand_in is not None  # ``load_prices`` has made sure
        return msgspec.structs.replace(stand_in, assumed=True)

    def knows(self, model: str) -> bool:
        """Whether a name has a row of its own."""
        return _plain(model) in self._rows

    def _on(self, name: str, at: date) -> CloudPrice | None:
        rows = self._rows.get(name, ())
        begun = [row for row in rows if row.since is None or row.since <= at]
        if begun:
            return max(begun, key=lambda row: row.since or date.min)
        return min(rows, key=lambda row: row.since or date.min, default=None)


def price_of(model: str, at: date) -> CloudPrice:
    """Return the price in the table that comes with llmctl, see ``PriceTable.price_of``."""
    return load_prices().price_of(model, at)


def cloud_cost(
    prompt: int, completion: int, cached: int, model: str, *, at: date | None = None
) -> MicroUsd:
    """Return what tokens would cost at the cloud API that ``model`` names, today by default.

    ``prompt`` counts all prompt tokens, ``cached`` those among them that a prompt cache had.
    """
    price = price_of(model, at or date.today())  # noqa: DTZ011  prices change by the day
    return price.of(prompt=prompt, completion=completion, cached=cached)


@functools.cache
def load_prices(own: str | None = None) -> PriceTable:
    """Return the table, with the rows of the file ``own`` instead of ours of the same name.

    Raises ``ConfigError`` for a file that cannot be read or understood.
    """
    ours = _read(BUILT_IN)
    rows = _rows(ours, BUILT_IN)
    families, default = dict(ours.families), ours.default or ""
    if own is not None:
        path = Path(own).expanduser()
        theirs = _read(path)
        rows |= _rows(theirs, path)
        families = {**theirs.families, **families, **theirs.families}
        default = theirs.default or default
    missing = {_plain(name) for name in (default, *families.values())} - rows.keys()
    if missing:
        raise ConfigError(f"{own} names {', '.join(sorted(missing))}, which has no price")
    return PriceTable(rows, families=families, default=_plain(default))


def _read(path: Path) -> _File:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(table, _File)
    except OSError as failure:
        reason = failure.strerror or str(failure)
        raise ConfigError(
            f"the prices in {path} cannot be read: {reason}", hint="cost.prices names that file"
        ) from failure
    except (ValueError, msgspec.ValidationError) as failure:
        raise ConfigError(f"the prices in {path} cannot be understood: {failure}") from failure


def _rows(file: _File, path: Path) -> dict[str, list[CloudPrice]]:
    """Return the rows by every name they stand under."""
    found: dict[str, list[CloudPrice]] = {}
    for row in file.price:
        price = _price(row, file.sources.get(row.source), path)
        for name in map(_plain, (row.model, *row.aliases)):
            found.setdefault(name, []).append(msgspec.structs.replace(price, model=name))
    return found


def _price(row: _Row, source: _Source | None, path: Path) -> CloudPrice:
    try:
        written = row.input if row.cache_write is None else row.cache_write
        read = row.input if row.cache_read is None else row.cache_read
        return CloudPrice(
            model=_plain(row.model),
            input=_amount(row.input),
            output=_amount(row.output),
            cache_read=_amount(read),
            cache_write=_amount(written),
            since=row.since,
            source=source.url if source else row.source or str(path),
            checked=source.checked if source else None,
        )
    except ValueError as reason:
        raise ConfigError(f"the price of {row.model} in {path}: {reason}") from None


def _amount(dollars: str | float) -> MicroUsd:
    amount = micro_usd(dollars)
    if amount < 0:
        raise ValueError(f"{dollars} is less than nothing")
    return amount


def _plain(model: str) -> str:
    """Return a name as the table has it: no vendor, no date, no mark, hyphens for dots in it."""
    name = _MARKED.sub("", model.strip().lower().rpartition("/")[2].removeprefix("anthropic."))
    name = _DATED.sub("", name)
    return name.replace(".", "-") if name.startswith("claude") else name


def _of(name: str, family: str) -> bool:
    """Whether a name is of a family: ``claude-opus`` in ``claude-opus-9`` and ``claude-9-opus``."""
    return set(family.split("-")) <= set(name.split("-"))
