import io
import json

import pytest

from llmctl.core.errors import AuthError, ConfigError
from llmctl.render.errors import error_document, error_text, wants_colour


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_message_blank_line_next_step():
    error = ConfigError("port 99999 is none", hint="llmctl serve --port 8000")
    assert error_text(error) == "error: port 99999 is none\n\nhint: llmctl serve --port 8000\n"
    assert error_text(ConfigError("no")) == "error: no\n"


def test_colour_is_only_around_the_words():
    text = error_text(ConfigError("no", hint="yes"), colour=True)
    assert text == "\033[1;31merror:\033[0m no\n\n\033[1;36mhint:\033[0m yes\n"


def test_one_document_for_programs():
    assert json.loads(error_document(AuthError("no token"))) == {
        "error": {"code": "credentials", "message": "no token", "hint": None, "exit_code": 4}
    }


@pytest.mark.parametrize(
    ("environ", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_when_there_is_colour(environ, terminal, pipe):
    assert wants_colour(Terminal(), environ) is terminal
    assert wants_colour(io.StringIO(), environ) is pipe
