import pytest

from llmctl.render.amounts import clock, duration, per_hour, rate, size, usd


@pytest.mark.parametrize(
    ("amount", "text"),
    [(None, "-"), (0, "$0.00"), (300, "$0.0003"), (12_340_000, "$12.34"), (10_000, "$0.01")],
)
def test_dollars(amount, text):
    assert usd(amount) == text


def test_prices_an_hour():
    assert per_hour(342_100) == "$0.342/h"
    assert per_hour(None) == "-"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (18_600_000_000, "18.6 GB"), (2.5e14, "250 TB")],
)
def test_sizes(count, text):
    assert size(count) == text


def test_rates_and_times():
    assert rate(84_000_000) == "84.0 MB/s"
    assert clock(247) == "4:07"
    assert clock(3847.9) == "1:04:07"
    assert duration(59) == "59 s"
    assert duration(61) == "1 min 1 s"
    assert duration(3 * 3600 + 12 * 60) == "3 h 12 min"
    assert duration(2 * 86400 + 3 * 3600) == "2 d 3 h"
