"""People who share a proxy, each with a token of their own."""

import asyncio

import httpx
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.conversations import scripted
from tests.emulators.ollama import Answer

pytestmark = pytest.mark.e2e

BODY = {
    "model": "claude-sonnet-5",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "hi"}],
}


async def test_a_running_proxy_learns_of_new_and_removed_tokens(serve: Serve):
    async with scripted(Answer("Hello")) as engine, httpx.AsyncClient(timeout=30) as client:
        proxy = await serve("--backend", f"ollama:{engine.url}")
        added = await proxy.command("token", "add", "ada")
        assert added.code == 0, added.stderr
        ada, mine = added.stdout.strip(), (proxy.home / "data" / "token").read_text().strip()

        async def ask(token: str) -> httpx.Response:
            headers = {"x-api-key": token}
            return await client.post(f"{proxy.url}/v1/messages", json=BODY, headers=headers)

        async def until(token: str, status: int) -> None:
            async with asyncio.timeout(20):
                while (await ask(token)).status_code != status:
                    pass

        await until(ada, 200)
        assert (await ask(ada)).headers["x-llmctl-cache"] == "hit"
        assert (await ask(mine)).headers["x-llmctl-cache"] == "miss"
        assert '"ada"' in (await proxy.command("token", "list", "--json")).stdout
        removed = await proxy.command("token", "remove", "ada", "--yes")
        assert removed.stdout == "removed 1 token of ada\n"
        await until(ada, 401)
        assert (await ask(mine)).status_code == 200
        assert ada not in proxy.stderr
