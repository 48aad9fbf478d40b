import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.config.quantities import keep_alive, seconds, size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("90.5", 90.5),
        ("90s", 90),
        ("10m", 600),
        ("24h", 86400),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("7d", 604800),
        ("250ms", 0.25),
        (" 5s ", 5),
        ("-1", -1),
    ],
)
def test_durations_in_seconds(text, expected):
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "1h 30m", "h", "-5m", "1y", "٣s"])
def test_durations_that_are_none(text):
    with pytest.raises(ValueError, match='expected a duration such as "24h"'):
        seconds(text)


@given(hours=st.integers(0, 999), minutes=st.integers(0, 59), rest=st.integers(0, 59))
def test_a_duration_is_the_sum_of_its_parts(hours, minutes, rest):
    assert seconds(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024", 1024),
        ("1GiB", 1024**3),
        ("1 GiB", 1024**3),
        ("512MiB", 512 * 1024**2),
        ("500MB", 500_000_000),
        ("1.5kib", 1536),
        ("8b", 8),
    ],
)
def test_sizes_in_bytes(text, expected):
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "big", "1G", "-1", "1GiBs", "0x10"])
def test_sizes_that_are_none(text):
    with pytest.raises(ValueError, match='expected a size such as "1GiB"'):
        size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30m", "30m"),
        ("1h30m", "1h30m"),
        ("300", "300s"),
        ("-1", "-1s"),
        ("0", "0s"),
        ("-1s", "-1s"),
    ],
)
def test_keep_alive_is_what_go_reads(text, expected):
    assert keep_alive(text) == expected


@pytest.mark.parametrize("text", ["for ever", "1d", ""])
def test_keep_alive_that_go_would_refuse(text):
    with pytest.raises(ValueError, match="expected a duration"):
        keep_alive(text)
