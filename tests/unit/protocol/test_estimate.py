import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.protocol.estimate import FEATURES, features

SCRIPTS = ("latin", "greek", "cyrillic", "other_letters", "symbols", "kana_han", "hangul", "emoji")


def named(text: str) -> dict[str, float]:
    """Return the counts that are not zero."""
    counted = dict(zip(FEATURES, features(text), strict=True))
    return {name: count for name, count in counted.items() if count}


def test_code() -> None:
    assert named('if x_1:\n    return "HTTP 404"\n\tpass') == {
        "ascii_bytes": 35,
        "words": 5,
        "capitals": 4,
        "digits": 4,
        "marks": 4,
        "quotes": 2,
        "rare_letters": 1,
        "line_ends": 2,
        "tabs": 1,
    }


def test_a_ruler_is_told_from_as_many_single_marks() -> None:
    assert named("-" * 40)["adjacent_marks"] == 20
    assert "adjacent_marks" not in named("- " * 40)


def test_scripts_are_counted_apart() -> None:
    text = "é" * 2 + "λ" * 3 + "ж" * 4 + "עสह" + "→—" + "漢あア" + "한국" + "🙂"
    assert named(text) == {
        "latin": 2,
        "greek": 3,
        "cyrillic": 4,
        "other_letters": 3,
        "symbols": 2,
        "kana_han": 3,
        "hangul": 2,
        "emoji": 1,
    }


def test_nothing() -> None:
    assert named("") == {}


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_every_character_is_seen_once(text: str) -> None:
    counts = named(text)
    assert counts.get("ascii_bytes", 0) + sum(counts.get(name, 0) for name in SCRIPTS) == len(text)
    assert min(features(text)) >= 0


@settings(max_examples=40, deadline=None)
@given(st.text(), st.text())
def test_texts_add_up_across_a_line_break(left: str, right: str) -> None:
    """So blocks that are counted apart give what the whole would, within a pair of marks."""
    whole, parts = features(f"{left}\n{right}"), zip(features(left), features(right), strict=True)
    added = [a + b for a, b in parts]
    for name, together, apart in zip(FEATURES, whole, added, strict=True):
        assert apart <= together <= apart + 1, name


def test_half_a_surrogate_pair_is_no_error() -> None:
    assert features("a\ud83d")[0] == 1


def test_a_very_long_text_is_inferred_from_a_part() -> None:
    some = 'if x_1:\n    return "HTTP 404"\n\tpass # é漢🙂\n'
    text = some * (4_000_000 // len(some))
    for of_some, of_all in zip(features(some), features(text), strict=True):
        assert of_all == pytest.approx(of_some * (len(text) // len(some)), rel=0.01)
