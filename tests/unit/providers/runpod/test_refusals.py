import pytest

from llmctl.core.errors import (
    AuthError,
    InsufficientCredit,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
)
from llmctl.providers.runpod.refusals import refused, refused_create
from llmctl.providers.runpod.wire import PodId, Problem, read, read_problem

HINT = "RUNPOD_API_KEY, …9f2c"
FULL = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)
TAKEN = "There are not enough free GPUs on the host machine to start this pod."


def problem(detail: str, errors: list[str] | None = None) -> Problem:
    return Problem(title="Error", detail=detail, errors=errors)


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (400, FULL, NoCapacity),
        (400, TAKEN, NoCapacity),
        (400, "This machine does not have the resources to deploy your pod.", NoCapacity),
        (400, "insufficient capacity in EU-RO-1", NoCapacity),
        (400, "Your account balance is too low to rent this pod", InsufficientCredit),
        (400, "you have reached your spend limit", InsufficientCredit),
        (402, "add funds", InsufficientCredit),
        (401, "invalid bearer token", AuthError),
        (403, "access denied", AuthError),
        (403, "your account cannot use the requested pool", NoCapacity),
        (404, "network volume not found", ProviderError),
        (410, "this API was retired", ProviderError),
        (422, "Request validation failed.", ProviderError),
        (429, "rate limit exceeded", ProviderError),
        (500, "internal error", OutcomeUnknown),
        (503, "try again", OutcomeUnknown),
    ],
)
def test_what_the_answer_to_a_create_means(status, detail, kind):
    failure = refused_create(status, problem(detail), HINT)
    assert type(failure) is kind
    if kind is not AuthError or status == 403:
        assert detail in failure.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ProviderError), (403, ProviderError), (404, ProviderError), (502, OutcomeUnknown)],
)
def test_what_did_not_come_from_the_api_says_nothing_of_keys_and_capacity(status, kind):
    failure = refused_create(status, None, HINT)
    assert type(failure) is kind
    assert failure.retryable is (kind is ProviderError)


def test_violations_are_named():
    failure = refused_create(422, problem("Request validation failed.", ["unknown field x"]), HINT)
    assert "unknown field x" in failure.message
    assert not failure.retryable


@pytest.mark.parametrize(
    ("status", "retryable"), [(429, True), (500, True), (503, True), (404, False), (409, False)]
)
def test_what_passes_by_itself_may_be_tried_again(status, retryable):
    failure = refused("the list of pods", status, problem("words"), HINT)
    assert type(failure) is ProviderError
    assert failure.retryable is retryable
    assert "the list of pods" in failure.message


def test_a_refused_key_is_named_by_its_end():
    for words in (problem("invalid"), None):
        failure = refused("the list of pods", 401, words, HINT)
        assert type(failure) is AuthError
        assert HINT in failure.message


def test_a_retired_api_says_what_to_do():
    failure = refused("the list of pods", 410, problem("gone"), HINT)
    assert failure.hint == "update llmctl"


@pytest.mark.parametrize("body", [b"", b'""', b"null", b"[]", b"<html>", b"{}", b"\xff", b"{"])
def test_what_is_no_problem_document_is_none(body):
    assert read_problem(body) is None


@pytest.mark.parametrize("body", [b"", b'""', b"null", b"[]", b"<html>", b"{}", b"\xff\xfe", b"{"])
def test_what_cannot_be_read_is_an_error_that_shows_it(body):
    with pytest.raises(ProviderError, match="the balance cannot be read") as caught:
        read(body, PodId, "the balance")
    assert caught.value.retryable
