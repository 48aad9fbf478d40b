import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.ops.cache.likeness import likeness


@given(st.text(max_size=40), st.text(max_size=40))
def test_it_is_symmetric_and_between_0_and_1(a, b):
    assert likeness(a, b) == pytest.approx(likeness(b, a))
    assert 0 <= likeness(a, b) <= 1 + 1e-9


@given(st.text(min_size=1, max_size=40).filter(str.strip))
def test_the_same_text_is_most_alike_whatever_its_case_and_spaces(text):
    assert likeness(text, text) == pytest.approx(1)
    assert likeness(text, "  " + text.replace(" ", "  ") + "\n") == pytest.approx(1)


def test_more_in_common_is_more_alike():
    asked = "undo a commit"
    order = [
        "Undo a commit!",
        "How do I undo the last commit?",
        "committee work",
        "what is a monad",
    ]
    found = [likeness(asked, text) for text in order]
    assert found == sorted(found, reverse=True)
    assert likeness(asked, "") == 0
