"""RunPod's wire: REST v2 over httpx, and what only GraphQL has through RunPod's own package.

Requests that may be repeated without harm are, a few times; a create is sent exactly once. Base
addresses follow ``RUNPOD_API_BASE_URL``, the variable of the package.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from msgspec import Struct

from llmctl.core.errors import LlmctlError, OutcomeUnknown, ProviderError
from llmctl.providers.runpod import package
from llmctl.providers.runpod.refusals import refused, refused_create
from llmctl.providers.runpod.wire import (
    Catalogue,
    GpuRow,
    LogLine,
    Pod,
    PodId,
    Pods,
    Problem,
    Volume,
    read,
    read_problem,
)

BASE = "https://api.runpod.io"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ATTEMPTS = 3
LONGEST_WAIT_S = 20.0
"""A ``Retry-After`` beyond this is the caller's to wait for."""
CONNECT_S = 10.0
LOGS_S = 20.0
"""For reading logs, however much there is."""

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


class Patience(Struct, frozen=True, kw_only=True):
    """How long RunPod may be silent, in seconds."""

    request_s: float = 30.0
    create_s: float = 90.0
    package_s: float = 20.0
    """For one call of the package with its import; its own patience is 30 s."""
    log_pause_s: float = 3.0
    """Silence that is taken for the end of the log so far."""


PATIENCE = Patience()


class Api:
    """One key at RunPod. Methods raise ``ProviderError`` and its kin, never httpx's errors."""

    def __init__(
        self,
        key: str,
        *,
        key_hint: str,
        sleep: Sleep = asyncio.sleep,
        patience: Patience = PATIENCE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._key = key
        self._key_hint = key_hint
        self._sleep = sleep
        self._patience = patience
        base = (os.environ.get("RUNPOD_API_BASE_URL") or BASE).rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=f"{base}/v2",
            headers={"Authorization": f"Bearer {key}"},
            timeout=_timeout(patience.request_s),
            transport=transport,
            # a proxy cannot reach this machine's loopback
            trust_env=httpx.URL(base).host not in LOOPBACK,
        )

    async def close(self) -> None:
        """Close connections."""
        await self._http.aclose()

    # Reads.

    async def catalogue(self, *, cloud: str, count: int, min_cuda: str | None) -> list[GpuRow]:
        """Return every card with its price, and its stock for pods of ``count`` in one cloud."""
        query = {"include": "AVAILABILITY", "product": "POD", "count": count, "cloud": cloud}
        if min_cuda is not None:
            query["minCudaVersion"] = min_cuda
        answer = await self._asked("GET", "/catalog/gpus", "the catalogue", params=query)
        return read(answer.content, Catalogue, "the catalogue").gpus

    async def pods(self) -> list[Pod]:
        """Return every pod on the account. v2 has no pages; were there any, this is an error."""
        query = {"includeClusterPods": "true"}
        answer = await self._asked("GET", "/pods", "the list of pods", params=query)
        listed = read(answer.content, Pods, "the list of pods")
        if listed.next_token or listed.next_cursor:
            raise ProviderError(
                f"RunPod gave only the first {len(listed.pods)} pods of its list",
                hint="update llmctl",
            )
        return listed.pods

    async def pod(self, pod_id: str) -> Pod | None:
        """Return one pod; None only where the API itself says 404, not something on the way."""
        what = f"pod {pod_id}"
        answer = await self._asked("GET", _path(pod_id), what, absent=True)
        return None if answer.status_code == 404 else read(answer.content, Pod, what)

    async def volume(self, volume_id: str) -> Volume | None:
        """Return one network volume, None where there is none of that id."""
        what = f"network volume {volume_id}"
        path = f"/network-volumes/{quote(volume_id, safe='')}"
        answer = await self._asked("GET", path, what, absent=True)
        return None if answer.status_code == 404 else read(answer.content, Volume, what)

    async def bill(self, query: dict[str, Any]) -> bytes:
        """Return the billing records of every pod, also of those that are gone."""
        return (await self._asked("GET", "/billing/pods", "the bill", params=query)).content

    async def logs(self, pod_id: str, tail: int) -> list[str]:
        """Return the last ``tail`` lines of container and host, oldest first.

        The stream stays open for lines to come: a pause is taken for the end of what there is.
        """
        what = f"the logs of pod {pod_id}"
        try:
            async with self._http.stream(
                "GET", f"{_path(pod_id)}/logs", params={"tail": tail}
            ) as response:
                if response.status_code != 200 or not _is_event_stream(response):
                    await response.aread()
                    raise self.refusal(what, response)
                return await self._lines(response, tail, what)
        except httpx.RequestError as failure:
            raise _unreachable(what, failure) from failure

    async def _lines(self, response: httpx.Response, tail: int, what: str) -> list[str]:
        """Read until there are enough, or a pause; what only keeps the stream alive is no line."""
        lines: list[str] = []
        now = asyncio.get_running_loop().time
        end = now() + LOGS_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.log_pause_s) as pause:
                async for text in response.aiter_lines():
                    if not text.startswith("data:"):
                        continue
                    lines.append(read(text[5:].encode(), LogLine, what).line)
                    if len(lines) >= tail:
                        break
                    pause.reschedule(min(now() + self._patience.log_pause_s, end))
        return lines

    # Writes.

    async def create(self, body: dict[str, Any]) -> str:
        """Rent a pod and return its id; sent once, see ``Provider.create`` for what it raises."""
        timeout = _timeout(self._patience.create_s)
        try:
            answer = await self._http.post("/pods", json=body, timeout=timeout)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as failure:
            raise _unreachable("the order", failure) from failure  # not a byte of it was sent
        except httpx.RequestError as failure:
            raise OutcomeUnknown(
                f"RunPod's answer to the order was lost ({_named(failure)})"
            ) from failure
        if not answer.is_success:
            raise refused_create(answer.status_code, _problem(answer), self._key_hint)
        try:
            return read(answer.content, PodId, "the order").id
        except ProviderError as failure:
            raise OutcomeUnknown(failure.message) from failure

    async def act(self, pod_id: str, action: str) -> httpx.Response:
        """``start`` or ``stop`` a pod; the answers 400, 404 and 409 are the caller's to judge.

        Repeated like a read: once it was done, v2 answers 409.
        """
        what = f"{action} of pod {pod_id}"
        path = f"{_path(pod_id)}/action"
        answer = await self._sent("POST", path, what, json={"action": action})
        if answer.is_success:
            read(answer.content, PodId, what)
        return answer

    async def delete(self, pod_id: str) -> None:
        """End a pod; one that is gone is success. GraphQL is asked where v2 fails."""
        what = f"the end of pod {pod_id}"
        try:
            answer = await self._asked("DELETE", _path(pod_id), what, absent=True)
            if answer.is_success and answer.content:  # the API's own yes is empty
                raise self.refusal(what, answer)
        except ProviderError as failure:
            await self._terminate(pod_id, failure)

    async def _terminate(self, pod_id: str, failure: ProviderError) -> None:
        try:
            await self._package(package.terminate, pod_id, self._key, self._key_hint)
        except ProviderError as second:
            raise ProviderError(
                f"{failure.message}; {second.message}", retryable=failure.retryable
            ) from second

    async def balance(self) -> dict[str, Any]:
        """Return ``clientBalance`` and ``currentSpendPerHr`` as GraphQL gives them."""
        return await self._package(package.balance, self._key, self._key_hint)

    async def _package(self, call: Callable[..., T], *arguments: str) -> T:
        try:
            async with asyncio.timeout(self._patience.package_s):
                return await asyncio.to_thread(call, *arguments)
        except TimeoutError as failure:
            raise ProviderError(
                f"RunPod's GraphQL did not answer in {self._patience.package_s:.0f} s",
                retryable=True,
            ) from failure

    # Sending.

    async def _asked(
        self, method: str, path: str, what: str, *, absent: bool = False, **options: Any
    ) -> httpx.Response:
        """Send, and raise unless it succeeded; with ``absent`` a 404 of the API itself is fine."""
        answer = await self._sent(method, path, what, **options)
        if answer.is_success:
            return answer
        problem = _problem(answer)
        if absent and answer.status_code == 404 and problem is not None:
            return answer
        raise self.refusal(what, answer)

    async def _sent(self, method: str, path: str, what: str, **options: Any) -> httpx.Response:
        """Send what may be sent twice, again after a broken connection, 429 and 5xx."""
        for attempt in range(1, ATTEMPTS + 1):
            wait_s = 0.5 * 2**attempt
            try:
                answer = await self._http.request(method, path, **options)
            except httpx.RequestError as failure:
                if attempt == ATTEMPTS:
                    raise _unreachable(what, failure) from failure
            else:
                wait_s = _retry_after(answer) or wait_s
                again = answer.status_code == 429 or answer.status_code >= 500
                if not again or attempt == ATTEMPTS or wait_s > LONGEST_WAIT_S:
                    return answer
            await self._sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def refusal(self, what: str, answer: httpx.Response) -> LlmctlError:
        """Return the error that an answer stands for."""
        return refused(what, answer.status_code, _problem(answer), self._key_hint)


def _timeout(silence_s: float) -> httpx.Timeout:
    return httpx.Timeout(silence_s, connect=min(silence_s, CONNECT_S))


def _path(pod_id: str) -> str:
    return f"/pods/{quote(pod_id, safe='')}"


def _is_event_stream(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("Content-Type", "").startswith("text/event-stream"))


def _problem(answer: httpx.Response) -> Problem | None:
    return read_problem(answer.content)


def _retry_after(answer: httpx.Response) -> float | None:
    """Return the seconds of ``Retry-After``; v2 gives no dates there."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _unreachable(what: str, failure: httpx.RequestError) -> ProviderError:
    return ProviderError(f"RunPod cannot be asked for {what}: {_named(failure)}", retryable=True)


def _named(failure: Exception) -> str:
    return f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
