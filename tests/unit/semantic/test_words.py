"""Forms and synonyms."""

import pytest

from llmctl.semantic.words import lexicon, stem


@pytest.mark.parametrize(
    "forms",
    [
        ("remove", "removes", "removed", "removing"),
        ("stop", "stops", "stopped", "stopping"),
        ("copy", "copies", "copied", "copying"),
        ("file", "files", "filing", "filed"),
        ("class", "classes"),
        ("box", "boxes"),
        ("write", "wrote", "written", "writing"),
        ("index", "indices", "indexes"),
    ],
)
def test_forms_of_a_word_are_one(forms):
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("string", "str"),
        ("market", "marketing"),
        ("bored", "boring"),
        ("process", "processor"),
        ("set", "sets of"),
    ],
)
def test_other_words_stay_apart(a, b):
    assert stem(a) != stem(b)


def test_no_line_of_synonyms_is_named_by_a_word_of_another():
    # it would be two words in one
    names = set(lexicon().synonyms.values())
    assert {name for name in names if lexicon().synonyms.get(name, name) != name} == set()
