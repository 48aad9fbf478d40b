"""What an answer that says no means."""

import pytest

from llmctl.providers.vast.api import Refused, words


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"error": "invalid_args", "msg": "no_such_ask"}, "invalid_args: no_such_ask"),
        ({"detail": "API requests too frequent"}, "API requests too frequent"),
        ({"error": None, "msg": 7}, ""),
        ({}, ""),
    ],
)
def test_what_an_error_says(body: dict, text: str):
    assert words(body) == text


@pytest.mark.parametrize(
    ("status", "text", "retryable"),
    [
        (429, "API requests too frequent", True),
        (429, '{"error": "search_quota_exceeded"}', False),
        (500, '{"error": "server"}', True),
        (403, "<html>", True),
        (400, '{"error": "invalid_args"}', False),
    ],
)
def test_what_may_be_tried_again(status: int, text: str, retryable: bool):
    assert Refused("no", status=status, text=text).retryable is retryable


@pytest.mark.parametrize(
    ("status", "text", "decided"),
    [
        (400, '{"error": "invalid_args"}', True),
        (410, '{"error": "no_such_ask"}', True),
        (429, "API requests too frequent", True),
        (403, "<html>", False),
        (404, "", False),
        (408, '{"error": "slow"}', False),
        (500, '{"error": "server"}', False),
        (504, "", False),
    ],
)
def test_who_said_no(status: int, text: str, decided: bool):
    assert Refused("no", status=status, text=text).was_decided is decided
