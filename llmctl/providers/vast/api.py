"""vast.ai's wire: one method for each call, through the official package, and what failures mean.

Answers are decoded JSON, unchecked; their meaning is the adapter's business. Calls block, so each
runs in a thread of its own, with a deadline of its own. What can be repeated is tried three times
by the package, an order once: it would repeat one whose answer was lost.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import httpx

from llmctl.core.errors import AuthError, ProviderError
from llmctl.providers.vast.sdk import is_loopback, load

BASE_URL = "https://console.vast.ai"
ATTEMPTS = 3
PAGE_ROWS = 25
CHARGE_ROWS = 500
_UNSENT = {"ConnectTimeout", "NewConnectionError", "InvalidURL", "InvalidSchema", "MissingSchema"}
"""Classes of the HTTP libraries below the package, which are not imported for their names."""
_SHOWN = 300
"""Characters of an answer that an error quotes."""

T = TypeVar("T")


class Refused(ProviderError):
    """vast.ai answered, and did not do it. ``body`` is its JSON object, where it sent one."""

    def __init__(self, message: str, *, status: int, text: str, hint: str | None = None) -> None:
        self.status = status
        self.text = text
        self.body = _object(text)
        used_up = self.says("search_quota_exceeded")
        passing = status in (408, 429) or status >= 500 or not self.body
        super().__init__(message, hint=hint, retryable=passing and not used_up)

    def says(self, *texts: str) -> bool:
        """Return whether it holds one of the texts: statuses vary, its own words do not."""
        return any(text in self.text for text in texts)

    @property
    def was_decided(self) -> bool:
        """Return whether vast.ai itself said no, before it did anything."""
        return self.status == 429 or (bool(self.body) and self.status < 500 and self.status != 408)


class NoAnswer(ProviderError):
    """No answer, or none that can be read."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message, retryable=True)
        self.sent = sent
        """Whether the request may have arrived."""


class VastApi:
    """One account."""

    def __init__(self, key: str, *, base_url: str, key_hint: str, timeout_s: float) -> None:
        self._key = key.strip()
        self._base_url = base_url.rstrip("/")
        self._key_hint = key_hint
        self._timeout_s = timeout_s
        """Of one attempt; a call that has only one gets as long as three."""

    async def user(self) -> Any:
        return await self._call("show the account", lambda sdk: sdk.show_user())

    async def ssh_keys(self) -> Any:
        return await self._call("list the SSH keys", lambda sdk: sdk.show_ssh_keys())

    async def add_ssh_key(self, line: str) -> Any:
        return await self._call(
            "register the SSH key", lambda sdk: sdk.create_ssh_key(ssh_key=line)
        )

    async def attach_ssh_key(self, instance_id: str, line: str) -> Any:
        return await self._call(
            f"attach the SSH key to instance {instance_id}",
            lambda sdk: sdk.attach_ssh(_number(instance_id), line),
            attempts=1,
        )

    async def search(self, query: dict[str, Any], *, kind: str, disk_gb: int) -> Any:
        """Return offers by price; ``kind`` is ``on-demand`` or ``bid``."""
        return await self._call(
            "search offers",
            lambda sdk: sdk.search_offers(
                dict(query), type=kind, order="dph_total", storage=disk_gb
            ),
        )

    async def create(self, offer_id: str, **order: Any) -> Any:
        """Rent; sent once. Cancelling does not call back what was sent."""
        return await self._call(
            f"rent offer {offer_id}",
            lambda sdk: sdk.create_instance(_number(offer_id), **order),
            attempts=1,
        )

    async def instance(self, instance_id: str) -> Any:
        # the package's own method computes with a start date that is null at first
        path = f"/instances/{_number(instance_id)}/"
        return await self._call(
            f"show instance {instance_id}",
            lambda sdk: _json(sdk.client.get(path, query_args={"owner": "me"})),
        )

    async def instances_page(self, token: str | None) -> Any:
        # the package's walk over all pages takes a page without rows for an empty one
        params: dict[str, Any] = {
            "select_filters": {},
            "order_by": [{"col": "id", "dir": "asc"}],
            "limit": PAGE_ROWS,
        }
        if token is not None:
            params["after_token"] = token
        return await self._call("list instances", lambda sdk: sdk.show_instances_v1(params))

    async def destroy(self, instance_id: str) -> Any:
        return await self._call(
            f"destroy instance {instance_id}",
            lambda sdk: sdk.destroy_instance(_number(instance_id)),
        )

    async def stop(self, instance_id: str) -> Any:
        return await self._call(
            f"stop instance {instance_id}", lambda sdk: sdk.stop_instance(_number(instance_id))
        )

    async def start(self, instance_id: str) -> Any:
        return await self._call(
            f"start instance {instance_id}", lambda sdk: sdk.start_instance(_number(instance_id))
        )

    async def request_logs(self, instance_id: str, *, lines: int) -> Any:
        # the package's own method sleeps while it waits for the upload
        path = f"/instances/request_logs/{_number(instance_id)}/"
        return await self._call(
            f"read the logs of instance {instance_id}",
            lambda sdk: _json(sdk.client.put(path, json_data={"tail": str(lines)})),
        )

    async def charges_page(self, filters: dict[str, Any], token: str | None) -> Any:
        # the package's own method takes at most a hundred rows a page
        query: dict[str, Any] = {
            "select_filters": filters,
            "format": "table",
            "latest_first": False,
            "limit": CHARGE_ROWS,
        }
        if token is not None:
            query["after_token"] = token
        return await self._call(
            "read the charges",
            lambda sdk: _json(sdk.client.get("/charges/", query_args=query)),
        )

    async def fetch(self, url: str) -> str | None:
        """Return uploaded text, None while it is not there; the key is not sent along."""
        try:
            async with httpx.AsyncClient(
                timeout=self._timeout_s, trust_env=not is_loopback(url)
            ) as client:
                answer = await client.get(url)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise NoAnswer(
                f"cannot read vast.ai's upload: {str(exc) or type(exc).__name__}"
            ) from exc
        return answer.text if answer.status_code == 200 else None

    async def _call(self, what: str, work: Callable[[Any], T], *, attempts: int = ATTEMPTS) -> T:
        """Run one call of the package.

        Raises ``AuthError``, ``Refused`` or ``NoAnswer``.
        """
        if not self._key:
            raise AuthError("there is no key for vast.ai", hint="llmctl auth login vast")
        # a little later than the package itself would give up
        patience = self._timeout_s * ATTEMPTS + 1.0
        try:
            async with asyncio.timeout(patience):
                return await in_thread(lambda: work(self._client(attempts)))
        except TimeoutError as exc:
            text = f"cannot {what}: no answer from {self._base_url} in {patience:.0f} s"
            raise NoAnswer(text) from exc
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as exc:
            self._translate(what, exc)

    def _client(self, attempts: int) -> Any:
        sdk = load()(api_key=self._key, server_url=self._base_url, retry=attempts)
        sdk.client.timeout = self._timeout_s * (ATTEMPTS if attempts == 1 else 1)
        return sdk

    def _translate(self, what: str, exc: Exception) -> NoReturn:
        """Raise what a failure inside the package means; its HTTP errors are ``OSError``."""
        answer = getattr(exc, "response", None)
        if answer is not None and answer.status_code >= 400:
            raise self._refusal(what, answer.status_code, answer.text) from exc
        undecodable = hasattr(exc, "doc")  # both JSON libraries keep what they could not read
        if isinstance(exc, OSError) and not undecodable:
            text = f"cannot {what}: {self._base_url}: {_reason(exc)}"
            raise NoAnswer(text, sent=not _before_sending(exc)) from exc
        raise NoAnswer(
            f"cannot {what}: vast.ai's answer cannot be read ({type(exc).__name__}: {exc})"
        ) from exc

    def _refusal(self, what: str, status: int, text: str) -> ProviderError | AuthError:
        body = _object(text)
        page = text.lstrip().startswith("<")
        said = words(body) or f"HTTP {status}: {'a web page' if page else text.strip()[:_SHOWN]}"
        if "auth_error" in said or status == 401 or (status == 403 and body):
            way = "llmctl auth login vast"
            if "Two Factor" in said:
                way = "make an API key with the permissions for instances in vast.ai's console"
            return AuthError(f"vast.ai refused the key {self._key_hint}: {said}", hint=way)
        hint = "the quota of searches starts anew at midnight UTC" if "quota" in said else None
        if hint is None and (status == 429 or status >= 500):
            hint = "run the same command again in a minute"
        return Refused(f"cannot {what} at vast.ai: {said}", status=status, text=text, hint=hint)


def words(body: dict[str, Any]) -> str:
    """Return what an error object says."""
    parts = (body.get(name) for name in ("error", "msg", "detail"))
    return ": ".join(part for part in parts if isinstance(part, str) and part)[:_SHOWN]


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run blocking work in a daemon thread: one that hangs does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not future.done():
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome = (future.set_result, work())
        except Exception as exc:  # noqa: BLE001 - it is raised where the future is awaited
            outcome = (future.set_exception, exc)  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop has ended, nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, name="vastai", daemon=True).start()
    return future


def _number(text: str) -> int:
    """Return an id as the number it is here; raises ``ProviderError`` for another market's."""
    if not (text.isascii() and text.isdigit()):
        raise ProviderError(f"{text!r} is no id of vast.ai: those are numbers")
    return int(text)


def _json(answer: Any) -> Any:
    answer.raise_for_status()
    return answer.json()


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(exc: BaseException) -> str:
    """Return the innermost words of a chain of connection errors."""
    cause: Any = exc
    while True:
        inner = getattr(cause, "reason", None) or (cause.args[-1] if cause.args else None)
        if not isinstance(inner, BaseException):
            break
        cause = inner
    return str(cause).rpartition(">: ")[2] or type(cause).__name__


def _before_sending(exc: BaseException) -> bool:
    """Return whether nothing left this machine: no such name, refused, a URL that is none."""
    cause = getattr(exc.args[0], "reason", None) if exc.args else None
    kinds = {kind.__name__ for each in (exc, cause) for kind in type(each).__mro__}
    return not kinds.isdisjoint(_UNSENT)
