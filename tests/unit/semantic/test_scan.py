"""Pieces of a text."""

import pytest

from llmctl.semantic.scan import LITERAL, NUMBER, STOP, WORD, pieces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sort a list", [(WORD, "sort"), (WORD, "a"), (WORD, "list")]),
        ("python3.11", [(WORD, "python"), (NUMBER, "3.11")]),
        ("10MB", [(NUMBER, "10"), (WORD, "MB")]),
        ("1,000.5", [(NUMBER, "1000.5")]),
        ("x -5", [(WORD, "x"), (NUMBER, "-5")]),
        ("50%", [(NUMBER, "50"), (WORD, "percent")]),
        ("$20", [(NUMBER, "20"), (WORD, "dollar")]),
        ("2nd", [(NUMBER, "second")]),
        ("C++ C#", [(WORD, "C++"), (WORD, "C#")]),
        (".NET and Node.js", [(WORD, "NET"), (WORD, "and"), (WORD, "Node")]),
        ("os.path a_b", [(LITERAL, "os.path"), (LITERAL, "a_b")]),
        ("ls --all /etc/hosts", [(WORD, "ls"), (LITERAL, "--all"), (LITERAL, "/etc/hosts")]),
        ("https://a.b/c?d=e", [(LITERAL, "https://a.b/c?d=e")]),
        ("say 'hi there'", [(WORD, "say"), (LITERAL, "hi there")]),
        ("don't", [(WORD, "don't")]),
        ("`git log`", [(WORD, "git"), (WORD, "log")]),
        ("`x = 1`", [(LITERAL, "x = 1")]),
        ("```py\nx  \n```", [(LITERAL, "py\nx")]),
        ("CSV -> JSON", [(WORD, "CSV"), (WORD, "to"), (WORD, "JSON")]),
        ("a === b", [(WORD, "a"), (LITERAL, "==="), (WORD, "b")]),
        (
            "now, here. There!",
            [(WORD, "now"), (STOP, ","), (WORD, "here"), (STOP, "."), (WORD, "There"), (STOP, ".")],
        ),
        ("k8s", [(WORD, "k8s")]),
        ("a3f9c2d1", [(LITERAL, "a3f9c2d1")]),
        (".js", [(WORD, "js")]),
    ],
)
def test_pieces(text, expected):
    assert [tuple(piece) for piece in pieces(text)] == expected
