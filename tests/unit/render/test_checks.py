import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.reports_health import CheckState
from llmctl.render.checks import Row, milliseconds, rows_text

WORDS = st.lists(
    st.sampled_from(["a", "word", "or", "two", "longer-than-that", "9 %"]), max_size=30
)


@pytest.mark.parametrize(
    ("latency", "text"), [(None, ""), (0.44, "0.4 ms"), (41.2, "41 ms"), (2140.0, "2.1 s")]
)
def test_times(latency, text):
    assert milliseconds(latency) == text


def test_nothing():
    assert rows_text([], width=80, colour=False) == ""


@given(words=WORDS, width=st.integers(40, 200))
def test_no_word_is_lost_and_lines_fit(words, width):
    row = Row(CheckState.OK, "kind", "name", "1 ms", " ".join(words), "")
    text = rows_text([row], width=width, colour=False)
    assert text.split() == ["ok", "kind", "name", "1", "ms", *" ".join(words).split()]
    assert all(len(line) <= width for line in text.splitlines())


@given(words=WORDS, width=st.integers(1, 200))
def test_a_fix_stays_whole_however_narrow_it_gets(words, width):
    fix = "redis-cli -u rediss://cache.example.com:6379/0 ping"
    row = Row(CheckState.BAD, "kind", "name", "", " ".join(words), fix)
    assert f"fix: {fix}\n" in rows_text([row], width=width, colour=True)
