"""RunPod's own package against the emulator: what it is trusted with, and what it is kept from."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from llmctl.core.errors import AuthError, ProviderError
from llmctl.core.rental import Account
from llmctl.providers.runpod import package
from llmctl.providers.runpod.adapter import RunPodProvider
from tests.emulators.runpod import RunPod

HINT = "test, …0000"


def provider(runpod: RunPod, key: str | None = None) -> RunPodProvider:
    return RunPodProvider(key or runpod.key, key_hint=HINT, sleep=runpod.market.clock.sleep)


async def test_the_balance(runpod):
    runpod.market.credit = 12_340_000
    runpod.add_foreign()
    answer = await asyncio.to_thread(package.balance, runpod.key, HINT)
    assert answer["clientBalance"] == 12.34
    assert answer["currentSpendPerHr"] == pytest.approx(0.69 + 70 * 0.10 / 720, abs=1e-5)


async def test_the_account_is_balance_and_burn(runpod):
    one = provider(runpod)
    assert await one.account() == Account(credit=25_000_000, usd_per_hour=0)
    await one.close()


async def test_a_refused_key(runpod):
    one = provider(runpod, "rpa_WRONG")
    with pytest.raises(AuthError, match="…0000"):
        await one.account()
    await one.close()


@pytest.mark.parametrize("fault", ["http_500", "429", "no_data", "error", "html", "null", "empty"])
async def test_without_graphql_the_balance_is_unknown_and_the_key_still_checked(runpod, fault):
    runpod.market.faults.add("graphql_myself", fault)
    one = provider(runpod)
    assert await one.account() == Account()
    await one.close()


@pytest.mark.parametrize(
    "fault", ["http_500", "429", "no_data", "error", "html", "null", "empty", "reset_before"]
)
async def test_whatever_graphql_does_is_one_kind_of_error(runpod, fault):
    runpod.market.faults.add("graphql_myself", fault)
    with pytest.raises(ProviderError, match="GraphQL") as caught:
        await asyncio.to_thread(package.balance, runpod.key, HINT)
    assert caught.value.retryable


async def test_a_pod_is_terminated_by_graphql_where_v2_fails(runpod):
    pod = runpod.add_foreign()
    runpod.market.faults.add("destroy", "http_500", times=-1)
    one = provider(runpod)
    await one.destroy(pod.id)
    assert runpod.market.live() == []
    await one.close()


async def test_where_both_fail_both_are_told(runpod):
    pod = runpod.add_foreign()
    runpod.market.faults.add("destroy", "http_503", times=-1)
    runpod.market.faults.add("graphql_destroy", "error")
    one = provider(runpod)
    with pytest.raises(ProviderError, match="HTTP 503.*Something went wrong"):
        await one.destroy(pod.id)
    assert runpod.market.live() == [pod]
    await one.close()


async def test_an_id_cannot_become_a_query(runpod):
    with pytest.raises(ProviderError, match="is no id"):
        await asyncio.to_thread(package.terminate, 'x"}) y(input:{', runpod.key, HINT)
    assert runpod.market.calls == []


async def test_a_password_of_netrc_does_not_take_the_place_of_the_key(runpod, monkeypatch):
    home = Path(os.environ["HOME"])
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", "unchanged")
    await asyncio.to_thread(package.balance, runpod.key, HINT)
    assert os.environ["NETRC"] == "unchanged"
    monkeypatch.delenv("NETRC")
    await asyncio.to_thread(package.balance, runpod.key, HINT)
    assert "NETRC" not in os.environ


async def test_a_proxy_is_not_asked_for_loopback(runpod, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "example.org")
    one = provider(runpod)
    assert (await one.account()).credit is not None
    assert await one.instances() == []
    assert "no_proxy" not in os.environ
    await one.close()


FRESH = """
import logging, sys
from llmctl.providers.runpod import package

logging.getLogger("paramiko").setLevel(logging.DEBUG)
package.balance(sys.argv[1], "test")
assert "runpod" in sys.modules
print(logging.getLogger().handlers, logging.getLogger().level)
print(logging.getLogger("paramiko").level, logging.getLogger("urllib3").level)
"""


async def fresh(code: str, *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    said, _ = await process.communicate()
    return process.returncode, said.decode()


async def test_its_import_changes_nobodys_logging(runpod):
    code, said = await fresh(FRESH, runpod.key)
    assert (code, said.splitlines()) == (0, ["[] 30", "10 0"])


async def test_a_package_that_cannot_be_loaded_is_told(runpod):
    # it opens this file as it is imported
    (Path(os.environ["HOME"]) / ".runpod" / "config.toml").mkdir(parents=True)
    code, said = await fresh(FRESH, runpod.key)
    assert code == 1
    assert "ProviderError: the package runpod cannot be loaded" in said


async def test_it_is_not_imported_before_it_is_needed():
    code, said = await fresh(
        "import sys; import llmctl.providers.runpod.adapter; print('runpod' in sys.modules)"
    )
    assert (code, said.strip()) == (0, "False")
