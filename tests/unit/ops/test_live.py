from contextlib import aclosing

import httpx
import msgspec
import pytest

from llmctl.core.errors import AuthError
from llmctl.ops.live import looks
from llmctl.ops.running import Address, RunningProxy
from tests.unit.render.test_live import BUSY


async def seen(answers, count):
    """Return some looks at a proxy that gives these answers, and how long was slept between."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    def answer(request):
        assert request.url.path == "/ui/state"
        return answers.pop(0)()

    proxy = RunningProxy(
        Address(url="http://x", source=""), None, transport=httpx.MockTransport(answer)
    )
    found = []
    with proxy:
        async with aclosing(
            looks(proxy, gpus=lambda: BUSY.gpus, every_s=1.5, sleep=sleep)
        ) as reports:
            async for report in reports:
                found.append(report)
                if len(found) == count:
                    break
    return found, slept


def well():
    return httpx.Response(200, content=msgspec.json.encode(BUSY.proxy))


def refused():
    raise httpx.ConnectError("connection refused")


async def test_one_look_after_the_other_also_while_nobody_answers():
    found, slept = await seen([well, refused, lambda: httpx.Response(500), well], 4)
    assert [report.proxy for report in found] == [BUSY.proxy, None, None, BUSY.proxy]
    assert found[0].at == BUSY.at
    assert found[1].problem == "no proxy answers at http://x: connection refused"
    assert "is not llmctl: status 500" in found[2].problem
    assert all(report.gpus == BUSY.gpus for report in found)
    assert slept == [1.5] * 3


async def test_a_refused_token_ends_it():
    with pytest.raises(AuthError):
        await seen([lambda: httpx.Response(401)], 1)
