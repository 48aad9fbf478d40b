"""Answers that are good for one question only."""

import pytest

from llmctl.semantic.sources import good_source


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry, but I can\u2019t help with that.",
        "I cannot assist with this request.",
        "As an AI language model, I do not have opinions.",
        "Sorry, I don't know what you mean.",
        "Could you please clarify which file you mean?",
        "Es tut mir leid, das kann ich nicht.",
        "",
        "  \n",
    ],
)
def test_refusals_questions_and_silence_are_not_kept(answer):
    assert not good_source(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Use list.reverse() or slicing with [::-1].",
        "A process has its own memory; threads share it. " * 20 + "I'm sorry for the length.",
        "You can raise an exception if the user cannot be found.",
    ],
)
def test_answers_are_kept(answer):
    assert good_source(answer)
