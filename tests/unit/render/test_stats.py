"""The reports of ``stats``, byte for byte.

After a change that is meant: ``python -m tests.unit.render.test_stats`` writes them anew.
"""

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llmctl.core.usage import CacheOutcome
from llmctl.ledger.queries import LedgerSeries, LedgerSummary, Period
from llmctl.ledger.totals import Percentiles, Totals
from llmctl.render.stats import series_text, stats_csv, stats_document, stats_text

GOLDEN = Path(__file__).parents[2] / "golden" / "stats"
BERLIN = ZoneInfo("Europe/Berlin")
MIDNIGHT = datetime(2026, 11, 22, tzinfo=BERLIN).timestamp()

BUSY = Totals(
    requests=12_345,
    errors=14,
    cache={"hit": 7001, "semantic": 120, "miss": 5100, "shared": 24, "bypass": 100},
    hit_ratio=7121 / 12_245,
    tier_ratios={"exact": 7001 / 12_245, "semantic": 120 / 12_245, "shared": 24 / 12_245},
    prompt_tokens=231_456_789,
    completion_tokens=1_200_345,
    cached_prompt_tokens=98_000_000,
    tokens_per_s=43.123,
    first_token_ms=Percentiles(p50=4.25, p95=2135.0, p99=104_000.0),
)
QUIET = Totals(
    requests=3,
    cache={"hit": 0, "semantic": 0, "miss": 3, "shared": 0, "bypass": 0},
    hit_ratio=0.0,
    tier_ratios={"exact": 0.0, "semantic": 0.0, "shared": 0.0},
    prompt_tokens=999,
    completion_tokens=12,
    tokens_per_s=8.0,
    first_token_ms=Percentiles(p50=431.6, p95=998.0, p99=1000.0),
)
FAILED = Totals(
    requests=2,
    errors=2,
    cache={"hit": 0, "semantic": 0, "miss": 0, "shared": 0, "bypass": 2},
)
ERRORS = {"overloaded_error": 11, "client_gone": 3}
SUMMARY = LedgerSummary(
    since=MIDNIGHT,
    until=None,
    total=BUSY,
    errors=ERRORS,
    by_cache={"hit": BUSY},
    by_model={"qwen3-coder:30b": BUSY, "gpt-oss:120b-with-a-long-name": QUIET, "nowhere": FAILED},
    by_backend={"ollama:http://127.0.0.1:11434": BUSY, "": QUIET},
    by_tenant={"local": BUSY},
)
SERIES = LedgerSeries(
    since=None,
    until=MIDNIGHT + 86_400,
    by="day",
    total=BUSY,
    errors=ERRORS,
    periods=[
        Period(start=MIDNIGHT - 86_400, end=MIDNIGHT, total=QUIET, errors={}),
        Period(start=MIDNIGHT, end=MIDNIGHT + 86_400, total=BUSY, errors=ERRORS),
    ],
)
NONE = LedgerSummary(
    since=None,
    until=None,
    total=Totals(),
    errors={},
    by_cache={},
    by_model={},
    by_backend={},
    by_tenant={},
)
SOURCE = "/home/ann/.local/state/llmctl/ledger.db"
REPORTS = {
    "summary-plain.txt": lambda: stats_text(SUMMARY),
    "summary-120.txt": lambda: stats_text(SUMMARY, width=120),
    "summary-80.txt": lambda: stats_text(SUMMARY, width=80),
    "summary-60.txt": lambda: stats_text(SUMMARY, width=60),
    "backend-120.txt": lambda: stats_text(SUMMARY, by="backend", width=120),
    "backend-60.txt": lambda: stats_text(SUMMARY, by="backend", width=60),
    "day-plain.txt": lambda: series_text(SERIES, zone=BERLIN),
    "day-120.txt": lambda: series_text(SERIES, zone=BERLIN, width=120),
    "day-60.txt": lambda: series_text(SERIES, zone=BERLIN, width=60),
    "summary.json": lambda: stats_document(SUMMARY, SOURCE),
    "day.json": lambda: stats_document(SERIES, SOURCE),
    "model.csv": lambda: stats_csv(SUMMARY),
    "day.csv": lambda: stats_csv(SERIES),
}


@pytest.mark.parametrize("name", REPORTS)
def test_reports_are_as_recorded(name):
    assert REPORTS[name]() == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", [name for name in REPORTS if name.endswith("0.txt")])
def test_they_fit_where_names_do(name):
    """Names are never cut, so that they can be pasted; everything else gives way."""
    width = int(name.partition("-")[2].removesuffix(".txt"))
    for line in REPORTS[name]().splitlines():
        assert len(line) <= width, line


def test_no_requests():
    assert stats_text(NONE) == "no requests\n"
    assert stats_text(NONE, by="tenant", width=60) == "no requests\n"
    empty = LedgerSeries(since=None, until=None, by="day", total=Totals(), errors={}, periods=[])
    assert series_text(empty) == "no requests\n"
    assert stats_csv(empty).count("\n") == stats_csv(NONE).count("\n") == 1


def test_rows_add_up_to_what_the_document_says():
    rows = list(csv.DictReader(io.StringIO(stats_csv(SUMMARY))))
    document = json.loads(stats_document(SUMMARY, SOURCE))
    assert [row["model"] for row in rows] == list(document["by_model"])
    for row, sums in zip(rows, document["by_model"].values(), strict=True):
        assert int(row["requests"]) == sums["requests"]
        assert sum(int(row[outcome]) for outcome in CacheOutcome) == sums["requests"]


def _write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, made in REPORTS.items():
        (GOLDEN / name).write_text(made())


if __name__ == "__main__":
    _write()
