"""Pages of the list: rows, or an error; never empty by mistake."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.errors import ProviderError
from llmctl.providers.vast.adapter import read_page
from tests.unit.providers.vast.rows import CONTRACT


def test_a_page():
    rows, token = read_page({"instances": [CONTRACT], "next_token": "25"})
    assert ([row.id for row in rows], token) == ([30_000_001], "25")


@pytest.mark.parametrize("last", [{}, {"next_token": None}, {"next_token": ""}])
def test_the_last_page(last: dict):
    assert read_page({"instances": []} | last) == ([], None)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        [],
        {},
        {"instances": None},
        {"instances": ""},
        {"instances": {}},
        {"instances": [None]},
        {"instances": [{}]},
        {"instances": [], "instances_found": 3},
        {"instances": [], "total_instances": 3},
        {"instances": [], "next_token": "25"},
        {"instances": [CONTRACT], "next_token": 25},
        {"success": False, "instances": [], "error": "busy"},
    ],
    ids=str,
)
def test_what_is_no_page(answer: object):
    with pytest.raises(ProviderError):
        read_page(answer)


@given(
    st.dictionaries(
        st.sampled_from(["instances", "next_token", "success"]),
        st.none() | st.text(max_size=3) | st.integers() | st.lists(st.none() | st.just({"id": 1})),
    )
)
def test_no_junk_is_an_empty_account(answer: dict):
    try:
        rows, _ = read_page(answer)
    except ProviderError:
        return
    assert rows == answer["instances"] == []
