from datetime import UTC

import pytest

from llmctl.cli.times import read_limits
from llmctl.core.errors import ConfigError

NOW = 1_800_000_000.0


def read(since=None, until=None):
    return read_limits(since, until, now=NOW, zone=UTC)


def test_nothing_is_everything():
    assert read() == read("all") == (None, None)


def test_times_ago_and_dates():
    assert read("2h", "1h") == (NOW - 7200, NOW - 3600)
    assert read("1970-01-02") == (86_400.0, None)


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("yesterday", None, "--since cannot be 'yesterday': expected .*; \"all\" is everything"),
        (None, "soon", '--until cannot be \'soon\': expected a time ago .*"today" or "month"$'),
        (None, "all", "--until cannot be 'all'"),
        ("1h", "2h", "--since 1h is after --until 2h"),
        ("2099-01-01", None, "--since 2099-01-01 is after --until now"),
    ],
)
def test_what_is_refused_says_what_is_taken(since, until, said):
    with pytest.raises(ConfigError, match=said):
        read(since, until)
