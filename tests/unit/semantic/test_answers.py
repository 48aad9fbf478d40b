"""Labels of outcomes: the same is said, or in doubt it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.semantic.answers import same_answer

SLICE = "Use slicing:\n\n```python\nx[::-1]\n```\n"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Paris.", "paris"),
        ("Paris", "The capital of France is Paris."),
        ("5 km is about 3.1 miles.", "About 3.1 miles."),
        (SLICE, "You can use slicing:\n```\nx[ :: -1 ]\n```"),
        (
            "To stop all running containers, list their ids and pass them to the stop command.",
            "To stop all running containers, pass the list of their ids to the stop command.",
        ),
    ],
)
def test_the_same(a, b):
    assert same_answer(a, b)
    assert same_answer(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Sydney", "The capital is Canberra, not Sydney."),
        ("Yes, you can return it within 30 days.", "No, you can return it within 30 days."),
        ("It takes 5 minutes.", "It takes 10 minutes."),
        (SLICE, SLICE.replace("-1", "-2")),
        (SLICE, "Use slicing."),
        ("Open port 8080 on the host.", "Close port 8080 on the host."),
        ("", ""),
        ("", "."),
        (
            "First copy the file to the host, then delete the container and its volume.",
            "First delete the container and its volume, then copy the file to the host and stop.",
        ),
    ],
)
def test_not_the_same(a, b):
    assert not same_answer(a, b)
    assert not same_answer(b, a)


@given(st.text(max_size=200), st.text(max_size=200))
def test_it_is_symmetric(a, b):
    assert same_answer(a, b) == same_answer(b, a)


@given(st.text(min_size=1, max_size=200).filter(str.strip))
def test_an_answer_is_itself(a):
    assert same_answer(a, a)
