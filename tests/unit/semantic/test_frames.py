"""What a sentence asks for."""

import pytest

from llmctl.semantic.frames import asked


@pytest.mark.parametrize(
    ("sentence", "sign", "rest"),
    [
        ("how do i sort a list", "how", "sort a list"),
        ("what is the best way to sort a list", "how", "sort a list"),
        ("please tell me how to sort a list", "how", "sort a list"),
        ("i would like to sort a list", "how", "sort a list"),
        ("in python , how can i sort a list", "how", "sort a list"),
        ("sorting a list in python", "how", "sorting a list in python"),
        ("how does sorting work", "how it does", "sorting work"),
        ("can you explain why it fails", "why", "it fails"),
        ("write me a function", "write", "a function"),
        ("give me a python function", "write", "a python function"),
        ("fix this function", "fix", "this function"),
        ("what is a list", "what", "a list"),
        ("what does it mean", "meaning", "it mean"),
        ("what does chmod do", "what it does", "chmod do"),
        ("who did caesar kill", "whom", "caesar kill"),
        ("who killed caesar", "who", "killed caesar"),
        ("how does a list differ from a tuple", "difference", "a list differ from a tuple"),
        ("what is the difference between a and b", "difference", "a and b"),
        ("how many files are there", "quantity", "files are there"),
        ("how much does it cost", "cost", "it cost"),
        ("is it possible to sort a list", "possible", "sort a list"),
        ("should i sort a list", "should", "i sort a list"),
        ("the sun shines", "", "the sun shines"),
        ("", "", ""),
    ],
)
def test_the_sign_and_what_is_left(sentence, sign, rest):
    found = asked(sentence)
    assert found.sign == sign
    assert " ".join(sentence.split()[found.end :]) == rest
