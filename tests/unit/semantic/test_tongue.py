"""Languages, as far as they keep texts apart."""

import pytest

from llmctl.semantic.tongue import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("how do i sort a list", "en"),
        ("wie kann ich eine liste sortieren", "de"),
        ("comment trier une liste dans python", "fr"),
        ("cómo puedo ordenar una lista en python", "es"),
        ("как отсортировать список", "CYRILLIC"),
        ("정렬하는 방법", "HANGUL"),
        ("sort", "en"),
        ("", "en"),
        ("naïve café", "en"),
    ],
)
def test_language(text, language):
    assert language_of(text, text.split()) == language
