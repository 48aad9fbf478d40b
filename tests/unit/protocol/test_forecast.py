import json

import pytest

from llmctl.protocol.forecast import OUTLIER, REGIME, Block, Forecaster

STRUCTURE = (1.0,)


def forecaster() -> Forecaster:
    """A weight per text, known to 20 %, and a constant."""
    return Forecaster([1.0, 10.0], [0.2, 5.0])


def block(size: float, *, spread: float = 0.05) -> Block:
    return Block((size,), spread)


def tokens(some: Forecaster, *blocks: Block) -> float:
    return some.forecast(blocks, STRUCTURE).tokens


def test_nothing_known_is_the_weighted_sum() -> None:
    forecast = forecaster().forecast([block(100), block(50)], STRUCTURE)
    assert forecast.tokens == pytest.approx(160)
    assert forecast.variance > 30**2


def test_a_prompt_that_comes_again_is_known() -> None:
    some, prompt = forecaster(), [block(9000), block(300)]
    some.learn(prompt, STRUCTURE, 9800)
    forecast = some.forecast(prompt, STRUCTURE)
    assert forecast.tokens == pytest.approx(9800, rel=0.002)
    assert forecast.variance**0.5 < 0.02 * 9800


def test_what_was_learned_of_one_text_is_not_blamed_on_the_next() -> None:
    some, odd = Forecaster([1.0, 10.0], [0.01, 1.0]), block(10_000)
    for _ in range(3):
        some.learn([odd, block(100)], STRUCTURE, 10_900)
    assert tokens(some, odd, block(500)) == pytest.approx(11_300, rel=0.005)
    assert tokens(some, block(500)) == pytest.approx(510, rel=0.02)


def test_what_holds_for_all_texts_is_learned_for_new_ones() -> None:
    some = forecaster()
    for size in (800, 4000, 2500, 6000, 1200, 3000):
        some.learn([block(size)], STRUCTURE, round(1.3 * size + 10))
    assert tokens(some, block(5000)) == pytest.approx(6510, rel=0.01)


@pytest.mark.parametrize("reported", [40, 500_000])
def test_one_report_far_out_changes_nothing(reported: int) -> None:
    some, prompt = forecaster(), [block(5000)]
    some.learn(prompt, STRUCTURE, 5500)
    before = tokens(some, *prompt, block(700))
    some.learn(prompt, STRUCTURE, reported)
    assert tokens(some, *prompt, block(700)) == before


def test_reports_that_stay_far_out_are_believed_in_the_end() -> None:
    some, prompt = forecaster(), [block(5000)]
    for _ in range(5):
        some.learn(prompt, STRUCTURE, 5000)
    for _ in range(REGIME + 2):
        some.learn(prompt, STRUCTURE, 7500)
    assert tokens(some, *prompt) == pytest.approx(7500, rel=0.02)


def test_disbelief_must_be_in_a_row() -> None:
    some, prompt = forecaster(), [block(5000)]
    for _ in range(4 * REGIME):
        some.learn(prompt, STRUCTURE, 5000)
        some.learn(prompt, STRUCTURE, 100)
    assert tokens(some, *prompt) == pytest.approx(5000, rel=0.01)


def test_the_limit_of_belief_is_in_standard_deviations() -> None:
    some, prompt = forecaster(), [block(1000)]
    expected, variance, *_ = some.forecast(prompt, STRUCTURE)
    some.learn(prompt, STRUCTURE, round(expected + (OUTLIER - 0.2) * variance**0.5))
    assert tokens(some, *prompt) > 1.5 * expected


def test_a_text_twice_in_a_prompt() -> None:
    some, same = forecaster(), block(2000)
    for _ in range(4):
        some.learn([same, same], STRUCTURE, 4600)
    assert tokens(some, same, same) == pytest.approx(4600, rel=0.01)


def test_learned_survives_json() -> None:
    some = forecaster()
    for size in (800, 4000, 2500):
        some.learn([block(size)], STRUCTURE, round(1.3 * size + 10))
    other = forecaster()
    other.resume(json.loads(json.dumps(some.learned())))
    assert tokens(other, block(5000)) == pytest.approx(tokens(some, block(5000)))


@pytest.mark.parametrize(
    "junk",
    [
        None,
        [],
        {},
        {"mean": [1.0], "spread": [1.0]},
        {"mean": [1.0, "2"], "spread": [1.0, 1.0]},
        {"mean": [1.0, float("nan")], "spread": [1.0, 1.0]},
        {"mean": [1.0, 2.0]},
    ],
)
def test_junk_is_not_resumed(junk: object) -> None:
    some = forecaster()
    some.resume(junk)
    assert tokens(some, block(100)) == pytest.approx(110)
