"""``cache warm``: asks what is likely to be asked, so that the answers are there when it is.

What is in the cache already costs a millisecond, so a run that was ended goes on where it was when
it is simply started again.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
from msgspec import Struct

from llmctl.config import addresses
from llmctl.config.secrets import Secret
from llmctl.core.clock import Clock
from llmctl.core.errors import AuthError, ConfigError
from llmctl.core.reports_cache import WarmFailure, WarmProgress, WarmReport
from llmctl.ops.env import CLIENT_FAMILIES
from llmctl.ops.running import Address, NoAnswer

SHOWN_FAILURES = 10
RETRIES = 3
RETRY_AFTER_S = 2.0
MOST_WAIT_S = 60.0
SILENCE_S = 600.0
"""The proxy says something every few seconds while an engine works."""
BUSY = frozenset({429, 503, 529})
KEPT = frozenset({"miss", "shared"})
FOUND = frozenset({"hit", "semantic"})


class Prompt(Struct, frozen=True, kw_only=True):
    """One line of the file."""

    line: int
    body: bytes


def read_prompts(path: Path, *, model: str | None, max_tokens: int) -> list[Prompt]:
    """Read one body of ``POST /v1/messages``, or ``{"prompt": TEXT}``, from every line.

    ``model`` and ``max_tokens`` stand in where a line has none. Empty lines are left out. Raises
    ``ConfigError``, before anything is sent, for a file or line that cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as failure:
        raise ConfigError(f"cannot read {path}: {failure.strerror}") from failure
    prompts = list(_prompts(lines, path, model or CLIENT_FAMILIES["SONNET"], max_tokens))
    if not prompts:
        raise ConfigError(f"{path} holds no prompts")
    return prompts


def _prompts(lines: Iterable[bytes], path: Path, model: str, max_tokens: int) -> Iterator[Prompt]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            asked = msgspec.json.decode(line, type=dict[str, Any])
            body = _body(asked)
        except (msgspec.MsgspecError, ValueError) as reason:
            raise ConfigError(
                f"{path}, line {number}: {reason}",
                hint='one JSON object a line: {"prompt": "..."} or a body of POST /v1/messages',
            ) from None
        body = {"model": model, "max_tokens": max_tokens} | body | {"stream": False}
        yield Prompt(line=number, body=msgspec.json.encode(body))


def _body(asked: dict[str, Any]) -> dict[str, Any]:
    if "messages" in asked:
        return asked
    rest = {name: value for name, value in asked.items() if name != "prompt"}
    if not isinstance(asked.get("prompt"), str):
        raise ValueError("neither prompt nor messages")  # noqa: TRY004  a wrong line, not a bug
    return rest | {"messages": [{"role": "user", "content": asked["prompt"]}]}


class Warming:
    """One run against one proxy; ``progress`` is told every so often, and at the end."""

    def __init__(
        self,
        address: Address,
        token: Secret | None,
        *,
        clock: Clock,
        progress: Callable[[WarmProgress], None],
        every_s: float = 0.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._address = address
        self._token = token
        self._clock = clock
        self._progress = progress
        self._every_s = every_s
        self._told_at = float("-inf")
        self._transport = transport
        self._counts = {"hits": 0, "misses": 0, "uncached": 0, "errors": 0}
        self._tokens = [0, 0]
        self._failures: list[WarmFailure] = []
        self._total = 0

    async def run(self, prompts: list[Prompt], *, parallel: int) -> WarmReport:
        """Ask everything, so many at once; a prompt that fails does not end the others.

        Raises ``NoAnswer`` where no proxy answers, ``AuthError`` where it refuses the token.
        """
        began = self._clock.monotonic()
        self._total = len(prompts)
        waiting = iter(prompts)
        local = addresses.is_local(addresses.host_of(self._address.url))
        async with httpx.AsyncClient(
            headers={"x-api-key": self._token.reveal()} if self._token else {},
            timeout=httpx.Timeout(SILENCE_S, connect=5.0),
            trust_env=not local,  # HTTP_PROXY must not get to see what never leaves the machine
            transport=self._transport,
        ) as client:
            await _together([self._work(client, waiting) for _ in range(parallel)])
        return WarmReport(
            prompts=len(prompts),
            **self._counts,
            failures=sorted(self._failures, key=lambda each: each.line),
            seconds=round(self._clock.monotonic() - began, 3),
            prompt_tokens=self._tokens[0],
            completion_tokens=self._tokens[1],
        )

    async def _work(self, client: httpx.AsyncClient, waiting: Iterator[Prompt]) -> None:
        for prompt in waiting:
            await self._ask(client, prompt)
            self._tell()

    def _tell(self) -> None:
        counts, now = self._counts, self._clock.monotonic()
        done = sum(counts.values())
        if done < self._total and now - self._told_at < self._every_s:
            return
        self._told_at = now
        self._progress(
            WarmProgress(
                done=done,
                total=self._total,
                hits=counts["hits"],
                misses=counts["misses"],
                errors=counts["errors"],
            )
        )

    async def _ask(self, client: httpx.AsyncClient, prompt: Prompt) -> None:
        try:
            response = await self._patiently(client, prompt)
        except httpx.ConnectError as failure:
            raise NoAnswer(f"no proxy answers at {self._address}", hint="llmctl serve") from failure
        except httpx.TransportError as failure:
            self._fail(prompt, str(failure) or type(failure).__name__)
            return
        if response.status_code == 401:
            raise AuthError(
                f"the proxy at {self._address.url} refuses the token",
                hint="run this as the user who runs llmctl serve, or set LLMCTL_AUTH_TOKEN",
            )
        self._count(prompt, response)

    async def _patiently(self, client: httpx.AsyncClient, prompt: Prompt) -> httpx.Response:
        """Ask again where the proxy or its engine is busy, when it says that this may help."""
        url = f"{self._address.url}/v1/messages"
        for _ in range(RETRIES):
            response = await client.post(url, content=prompt.body, headers=_JSON)
            if response.status_code not in BUSY:
                return response
            await asyncio.sleep(_pause_s(response))
        return await client.post(url, content=prompt.body, headers=_JSON)

    def _count(self, prompt: Prompt, response: httpx.Response) -> None:
        try:
            answer = msgspec.json.decode(response.content, type=_Answer)
        except msgspec.MsgspecError:
            self._fail(prompt, f"status {response.status_code}, and no answer in JSON")
            return
        if response.status_code != 200:
            self._fail(prompt, f"{response.status_code}: {answer.error.message}")
            return
        outcome = response.headers.get("x-llmctl-cache", "")
        if outcome in FOUND:
            self._counts["hits"] += 1
        elif outcome in KEPT and answer.stop_reason != "max_tokens":
            self._counts["misses"] += 1
        else:
            self._counts["uncached"] += 1
        if outcome not in FOUND:
            self._tokens[0] += answer.usage.input_tokens + answer.usage.cache_read_input_tokens
            self._tokens[1] += answer.usage.output_tokens

    def _fail(self, prompt: Prompt, message: str) -> None:
        self._counts["errors"] += 1
        if len(self._failures) < SHOWN_FAILURES:
            self._failures.append(WarmFailure(line=prompt.line, message=message))


async def _together(work: list[Any]) -> None:
    """Run everything, and raise the first failure as itself; the others end with it."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _pause_s(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", "")), 0.0), MOST_WAIT_S)
    except ValueError:
        return RETRY_AFTER_S


_JSON = {"content-type": "application/json"}


class _Usage(Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0


class _Error(Struct):
    message: str = ""


class _Answer(Struct):
    stop_reason: str | None = None
    usage: _Usage = msgspec.field(default_factory=_Usage)
    error: _Error = msgspec.field(default_factory=_Error)
