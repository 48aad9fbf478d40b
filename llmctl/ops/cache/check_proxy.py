"""``cache test``: one question through the running proxy, and the same again."""

import os
import time

import httpx
import msgspec

from llmctl.config import addresses
from llmctl.config.secrets import Secret
from llmctl.core.reports_cache import CacheCheck, CacheFilter
from llmctl.ops.cache.access import Access
from llmctl.ops.cache.check import latency_row, streamed_text, until, whole_text
from llmctl.ops.cache.forget import forget
from llmctl.ops.cache.look import newest
from llmctl.ops.env import CLIENT_FAMILIES
from llmctl.ops.running import Address

REPEATS = 5
LOOKED_AT = 20
"""Entries among which the test's own must be, right after it was made."""
ANSWER_S = 300.0


async def check_proxy(access: Access, address: Address, token: Secret | None) -> list[CacheCheck]:
    """Ask once, repeat it whole and as a stream, and forget it; costs the engine one answer."""
    nonce = os.urandom(8).hex()
    local = addresses.is_local(addresses.host_of(address.url))
    async with httpx.AsyncClient(
        base_url=address.url,
        headers={"x-api-key": token.reveal()} if token else {},
        timeout=httpx.Timeout(ANSWER_S, connect=5.0),
        trust_env=not local,
    ) as client:
        try:
            rows = await _ask(client, nonce)
        except httpx.TransportError:
            return [_untried(f"no proxy answers at {address}")]
        except msgspec.MsgspecError as failure:
            return [CacheCheck(name="proxy", ok=False, result=f"no answer of llmctl: {failure}")]
    if access.kind != "memory":
        await _forget(access, nonce)
    return rows


async def _ask(client: httpx.AsyncClient, nonce: str) -> list[CacheCheck]:
    response, first_ms = await _post(client, nonce, stream=False)
    outcome = response.headers.get("x-llmctl-cache")
    if response.status_code != 200:
        return [_untried(f"the proxy answers {response.status_code}: {response.text[:200]}")]
    if outcome == "bypass":
        return [_untried("the proxy runs without a cache")]
    if '"stop_reason":"max_tokens"' in response.text:
        return [_untried("the engine's answer was cut, so it is not kept")]
    said = whole_text(response.content)
    rows = [
        CacheCheck(
            name="proxy, miss",
            ok=outcome == "miss",
            result=f"x-llmctl-cache: {outcome}",
            p50_ms=round(first_ms, 3),
        )
    ]
    for name, stream in (("proxy, hit", False), ("proxy, hit as a stream", True)):
        answers = [await _post(client, nonce, stream=stream) for _ in range(REPEATS)]
        text_of = streamed_text if stream else whole_text
        right = sum(
            each.headers.get("x-llmctl-cache") == "hit" and text_of(each.content) == said
            for each, _ in answers
        )
        result = f"{right} of {REPEATS} were the same answer, from the cache"
        rows.append(latency_row(name, right == REPEATS, result, [ms for _, ms in answers]))
    return rows


async def _post(
    client: httpx.AsyncClient, nonce: str, *, stream: bool
) -> tuple[httpx.Response, float]:
    body = {
        "model": CLIENT_FAMILIES["HAIKU"],
        "max_tokens": 256,
        "stream": stream,
        "messages": [{"role": "user", "content": f"Answer with the word yes. [test {nonce}]"}],
    }
    began = time.perf_counter()
    response = await client.post("/v1/messages", json=body)
    return response, (time.perf_counter() - began) * 1000


async def _forget(access: Access, nonce: str) -> None:
    """Remove the answer, which its proxy may be about to write."""

    async def written() -> list[str]:
        listing = await newest(access, CacheFilter(), limit=LOOKED_AT)
        return [entry.id for entry in listing.entries if nonce in entry.excerpt]

    async def is_written() -> bool:
        return bool(await written())

    try:
        await until(is_written)
    except TimeoutError:
        return  # it was not kept
    for entry in await written():
        await forget(access, entry)


def _untried(reason: str) -> CacheCheck:
    return CacheCheck(name="proxy", ok=None, result=f"not tried: {reason}")
