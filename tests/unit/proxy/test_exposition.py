"""What Prometheus is told, and that documentation, dashboard and alerts speak of the same."""

import json
import re
from pathlib import Path

import pytest
import yaml

from llmctl.proxy.metrics import Metrics
from tests.unit.proxy.scraped import HEALTH, OLLAMA, busy, families, samples

DOCS = Path(__file__).parents[3] / "docs"
ROW = re.compile(r"^\| `(llmctl_\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)


def test_requests_are_counted():
    found = samples()
    assert found['llmctl_requests_total{cache="hit",status="200"}'] == 1
    assert found['llmctl_requests_total{cache="bypass",status="529"}'] == 1
    assert found['llmctl_tokens_total{kind="prompt",source="engine"}'] == 7
    assert found['llmctl_tokens_total{kind="completion",source="cache"}'] == 5
    assert found['llmctl_errors_total{type="overloaded_error"}'] == 1
    assert found['llmctl_semantic_total{event="served"}'] == 1
    assert found['llmctl_first_token_seconds_bucket{le="0.05"}'] == 1
    assert found["llmctl_request_duration_seconds_count"] == 3
    assert found["process_resident_memory_bytes"] > 0


def test_engines_and_what_they_made_are_counted():
    found = samples()
    pair = f'backend="{OLLAMA}",{{}}model="qwen3-coder:30b"'
    assert found[f'llmctl_backend_up{{backend="{OLLAMA}"}}'] == 1
    assert found[f'llmctl_backend_requests_in_flight{{backend="{OLLAMA}"}}'] == 2
    assert found[f'llmctl_backend_requests_queued{{backend="{OLLAMA}"}}'] == 5
    assert found[f'llmctl_backend_failures_total{{backend="{OLLAMA}"}}'] == 4
    completion = pair.format('kind="completion",')
    assert found[f"llmctl_backend_tokens_total{{{completion}}}"] == 11
    assert found[f"llmctl_backend_output_token_seconds_sum{{{pair.format('')}}}"] == 0.05


def test_stores_tunnels_and_money_are_there():
    found = samples()
    assert found["llmctl_cache_up"] == 0
    assert found["llmctl_cache_size_bytes"] == 4096
    assert found["llmctl_ledger_rows_written_total"] == 31
    assert found['llmctl_tunnel_up{tunnel="main"}'] == 1
    assert found['llmctl_tunnel_up{tunnel="spare"}'] == 0
    assert found['llmctl_tunnel_round_trip_seconds{tunnel="main"}'] == 0.04
    assert 'llmctl_tunnel_round_trip_seconds{tunnel="spare"}' not in found
    assert found["llmctl_spend_today_usd"] == 1.25
    assert found['llmctl_budget_used_ratio{period="day"}'] == 0.25
    assert found['llmctl_health_state{state="degraded"}'] == 1
    assert found['llmctl_health_state{state="ok"}'] == 0
    assert found['llmctl_build_info{version="1.2.3"}'] == 1


def test_what_is_not_known_is_left_out_and_not_zero():
    bare = {**HEALTH, "ledger": None, "tunnels": [], "backends": []}
    bare["cache"] = type(HEALTH["cache"])(kind="redis", healthy=True)
    found = samples(metrics=Metrics(), health=bare, spend=None)
    for name in ("llmctl_cache_entries", "llmctl_cache_evicted_total", "llmctl_spend_today_usd"):
        assert name not in found
    assert not any(name.startswith("llmctl_ledger") for name in found)


def test_the_table_says_what_there_is():
    told = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall((DOCS / "metrics.md").read_text())
    }
    there = {
        name: (
            family.type,
            {label for sample in family.samples for label in sample.labels} - {"le"},
        )
        for name, family in families().items()
        if name.startswith("llmctl_")
    }
    assert told == there


def test_no_label_is_what_clients_say():
    """Tenants, request ids and the names clients ask for have no end of values."""
    labels = {
        label
        for family in families().values()
        for sample in family.samples
        for label in sample.labels
    }
    assert labels <= {
        *("backend", "cache", "event", "kind", "le", "model", "period", "source", "state"),
        *("status", "tunnel", "type", "version"),
    }


NAME = re.compile(r"\b((?:llmctl|process)_\w+)\b(?:\{([^}]*)\})?")
BY = re.compile(r"\b(?:by|on) \(([^)]*)\)")
TARGET = {"job", "instance"}
"""Labels that Prometheus itself puts on everything."""


def labels_by_name() -> dict[str, set[str]]:
    return {
        sample.name: TARGET | {label for one in family.samples for label in one.labels}
        for family in families(busy()).values()
        for sample in family.samples
    }


def check(query: str) -> None:
    """Fail for a name or a label that does not exist."""
    known = labels_by_name()
    named = NAME.findall(query)
    assert named, f"no metric in {query}"
    labels = set()
    for name, matchers in named:
        assert name in known, f"there is no {name}: {query}"
        labels |= known[name]
        for matcher in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers):
            assert matcher in known[name], f"{name} has no {matcher}: {query}"
    for group in BY.findall(query):
        for label in group.split(","):
            assert label.strip() in labels, f"nothing has {label}: {query}"
    assert query.count("(") == query.count(")")


def dashboard() -> dict:
    return json.loads((DOCS / "grafana.json").read_text())


def panels() -> list[dict]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def test_the_dashboard_asks_for_what_there_is():
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    assert len(queries) > 15
    for query in queries:
        check(query.replace("$__rate_interval", "5m"))


def test_the_dashboard_can_be_imported():
    board = dashboard()
    assert board["uid"]
    assert "id" not in board
    [source] = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
    wanted = {"type": "prometheus", "uid": f"${{{source['name']}}}"}
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in panels():
        assert panel["title"]
        assert panel["datasource"] == wanted
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24


def test_panels_do_not_lie_on_each_other():
    taken = {}
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} on {taken[x, y]}"
                taken[x, y] = panel["title"]


RULES = [
    rule
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule):
    check(rule["expr"])
    assert set(rule) <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert "`llmctl " in rule["annotations"]["description"]
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))


def test_the_queries_of_the_table_ask_for_what_there_is():
    text = (DOCS / "metrics.md").read_text().partition("What people ask most")[2]
    queries = [row[1] for row in re.findall(r"^\| ([^|]+) \| `(.+)` \|$", text, re.MULTILINE)]
    assert len(queries) == 4
    for query in queries:
        check(query.replace("\\|", "|"))
