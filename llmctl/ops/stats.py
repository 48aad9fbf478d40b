"""Totals of the usage record: from the running proxy, else straight from its file."""

from contextlib import closing
from pathlib import Path

from msgspec import Struct

from llmctl.ledger import queries
from llmctl.ledger.queries import LedgerSummary
from llmctl.ops.running import NoAnswer, RunningProxy


class Report(Struct, frozen=True, kw_only=True):
    """A summary and where it is from."""

    summary: LedgerSummary
    source: str
    """URL of the proxy, or path of the file."""


def collect(proxy: RunningProxy, ledger: Path, *, since: float | None) -> Report:
    """Return the totals of requests since ``since`` (epoch seconds), None for all of them.

    Where no proxy answers the file is read; raises ``NoAnswer`` where there is none either,
    ``BackendError`` for what the proxy refuses, ``AuthError`` for a refused token.
    """
    path = "/stats" if since is None else f"/stats?since={since}"
    try:
        summary = proxy.decode(proxy.get(path), path, LedgerSummary)
        return Report(summary=summary, source=proxy.url)
    except NoAnswer:
        if not ledger.exists():
            raise
    with closing(queries.open_read_only(ledger)) as connection:
        return Report(summary=queries.summary(connection, since), source=str(ledger))
