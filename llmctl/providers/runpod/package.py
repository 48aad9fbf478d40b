"""RunPod's own package, for the two things that are asked of GraphQL; blocking.

Importing it takes two seconds and logs to stderr from then on; its requests would take a password
from ``.netrc`` instead of the key. All of that is kept inside here. Its functions for pods take no
key but a global one, so that its query and its runner are called apart.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llmctl.core.errors import AuthError, ProviderError

BALANCE = "query { myself { clientBalance currentSpendPerHr } }"

_lock = threading.Lock()
"""One call at a time: the environment is changed while it lasts."""
_LOUD = ("", "urllib3", "paramiko", "uvicorn")
_POD_ID = re.compile(r"[A-Za-z0-9_-]+")


def balance(key: str, key_hint: str) -> dict[str, Any]:
    """Return ``clientBalance`` and ``currentSpendPerHr`` in dollars, as they came."""
    account = _run(BALANCE, key, key_hint).get("myself")
    if not isinstance(account, dict):
        raise ProviderError(f"RunPod's GraphQL answered a balance of {account!r}", retryable=True)
    return account


def terminate(pod_id: str, key: str, key_hint: str) -> None:
    """End a pod; raises ``ProviderError`` also for one that is gone, which GraphQL cannot tell."""
    if not _POD_ID.fullmatch(pod_id):  # the package pastes it into the text of the query
        raise ProviderError(f"{pod_id!r} is no id of a RunPod pod")
    with _lock:
        _load()
        from runpod.api.mutations.pods import generate_pod_terminate_mutation
    _run(generate_pod_terminate_mutation(pod_id), key, key_hint)


def _run(query: str, key: str, key_hint: str) -> dict[str, Any]:
    with _lock:
        ask, refused_key = _load()
        try:
            with _surroundings():
                answer = ask(query, api_key=key)
        except refused_key as failure:
            raise AuthError(
                f"RunPod refused the key ({key_hint})", hint="llmctl auth login runpod"
            ) from failure
        except Exception as failure:
            # QueryError, JSONDecodeError, KeyError, and whatever requests raises
            raise ProviderError(
                f"RunPod's GraphQL failed: {type(failure).__name__}: {failure}", retryable=True
            ) from failure
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, dict):
        raise ProviderError(f"RunPod's GraphQL answered {answer!r}", retryable=True)
    return data


def _load() -> tuple[Callable[..., Any], type[Exception]]:
    """Import the package, and put back what it does to everybody's logging."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [(each, list(each.handlers), each.level) for each in loggers]
    try:
        from runpod.api.graphql import run_graphql_query
        from runpod.error import AuthenticationError
    except Exception as failure:
        # it reads ~/.runpod/config.toml as it is imported, and a hundred packages stand behind it
        raise ProviderError(f"the package runpod cannot be loaded: {failure}") from failure
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
    return run_graphql_query, AuthenticationError


@contextmanager
def _surroundings() -> Iterator[None]:
    """Keep requests from a password in ``.netrc``, and from a proxy on the way to loopback."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    wanted = {"NETRC": os.devnull, "no_proxy": f"{direct},127.0.0.1,localhost"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
