"""Clauses in one order."""

import pytest

from llmctl.semantic.order import conditions_last, is_attribute, straightened
from llmctl.semantic.scan import NUMBER, STOP, WORD, Raw


def raws(text: str) -> list[Raw]:
    kinds = {",": STOP}
    return [Raw(word, NUMBER if word.isdigit() else kinds.get(word, WORD)) for word in text.split()]


def words(some: list[Raw]) -> str:
    return " ".join(raw.text for raw in some)


@pytest.mark.parametrize(
    ("said", "straight"),
    [
        ("two lists be merged", "merg two lists be"),
        ("are conflicts resolved in git", "resolv are conflicts in git"),
        ("the deleted file", "the deleted file"),
        ("an item that is damaged", "an damaged item"),
        ("a file that is already tracked", "a already tracked file"),
        ("files larger than 100 mb", "files over 100 mb"),
        ("is it larger than a cat", "is it larger than a cat"),
        ("rows created earlier than today", "rows created before today"),
        ("rows that have errors", "rows with errors"),
        ("a job that has failed", "a job that has failed"),
        ("yarn or npm", "npm or yarn"),
        ("", ""),
    ],
)
def test_words_come_in_plain_order(said, straight):
    assert words(straightened(raws(said))) == straight


@pytest.mark.parametrize(
    ("said", "at", "attribute"),
    [
        ("the locked file", 1, True),
        ("a broken build", 1, True),
        ("the file is locked", 3, False),
        ("who broke it", 1, False),
        ("delete locked files", 1, True),
        ("wrote hamlet", 0, False),
    ],
)
def test_what_is_said_of_the_next_word_is_known(said, at, attribute):
    assert is_attribute(raws(said), at) is attribute


def test_a_form_of_be_may_have_been_taken_off():
    assert words(straightened(raws("hamlet written by shakespeare"), before="was")) == (
        "writ hamlet by shakespeare"
    )


@pytest.mark.parametrize(
    ("said", "put"),
    [
        ("if it fails , how do i stop it", "how do i stop it if it fails"),
        ("when it rains", "when it rains"),
        ("when it rains ,", "when it rains ,"),
        ("in bash , how do i loop", "in bash , how do i loop"),
        ("", ""),
    ],
)
def test_conditions_come_last(said, put):
    assert words(conditions_last(raws(said))) == put
