"""What RunPod's refusals mean, for a create and for everything else. Pure.

v2 tells a lack of capacity from a bad request by words only, and both are 400: its documentation
says to try the next candidate on every 400, and to believe the last one's words if all fail.
"""

from llmctl.core.errors import (
    AuthError,
    InsufficientCredit,
    LlmctlError,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
)
from llmctl.providers.runpod.wire import Problem

RETIRED = "RunPod has retired the API this version of llmctl speaks"
_MONEY = ("balance", "funds", "credit", "spend limit", "spending limit")


def said(status: int, problem: Problem | None) -> str:
    """Return status and words of a refusal."""
    if problem is None:
        return f"HTTP {status}, and not in the API's own form"
    return f"HTTP {status}: {problem.text}"


def refused(what: str, status: int, problem: Problem | None, key_hint: str) -> LlmctlError:
    """Return the error for a request other than a create that was not answered with success."""
    words = f"RunPod answered {what} with {said(status, problem)}"
    retryable = status == 429 or status >= 500 or problem is None
    if status == 401:
        return AuthError(f"RunPod refused the key ({key_hint})", hint="llmctl auth login runpod")
    if problem is not None and status == 403:
        return AuthError(f"the RunPod key ({key_hint}) may not do this: {words}", hint=_RIGHTS)
    if status == 402 or (status == 400 and _about_money(problem)):
        return InsufficientCredit(words, hint=_TOP_UP)
    if status == 410:
        return ProviderError(f"{RETIRED}: {words}", hint="update llmctl")
    return ProviderError(words, retryable=retryable)


def refused_create(status: int, problem: Problem | None, key_hint: str) -> LlmctlError:
    """Return the error for a create: what was surely refused, and what may have been accepted."""
    words = f"RunPod did not rent the pod: {said(status, problem)}"
    if status >= 500 or status < 300:
        return OutcomeUnknown(f"RunPod answered the order with {said(status, problem)}")
    if status == 402 or (status == 400 and _about_money(problem)):
        return InsufficientCredit(words, hint=_TOP_UP)
    if problem is not None and (status == 400 or (status == 403 and "pool" in problem.text)):
        return NoCapacity(words)
    return refused("the order", status, problem, key_hint)


def _about_money(problem: Problem | None) -> bool:
    return problem is not None and any(word in problem.text.lower() for word in _MONEY)


_RIGHTS = "give the key read and write access to pods, or make another one"
_TOP_UP = "add credit at https://console.runpod.io/user/billing"
