"""What the package takes from its surroundings, and does to them: nothing that matters."""

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import pytest

from llmctl.core.errors import AuthError, ProviderError
from llmctl.providers.vast.adapter import VastProvider
from llmctl.providers.vast.api import NoAnswer, VastApi
from tests.contract.bed import Bed
from tests.emulators.vast import VastEmulator


async def test_a_netrc_entry_does_not_replace_the_key(bed: Bed, monkeypatch: pytest.MonkeyPatch):
    netrc = Path(os.environ["HOME"]) / ".netrc"
    netrc.parent.mkdir(parents=True, exist_ok=True)
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    assert (await bed.provider.account()).credit is not None


async def test_a_proxy_is_not_asked_for_loopback(bed: Bed, monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    instance = await bed.up()
    assert await bed.provider.logs(instance.id, lines=1)


async def test_the_packages_own_settings_are_not_read(bed: Bed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAST_API_KEY", "another-key")
    monkeypatch.setenv("VAST_URL", "http://127.0.0.1:1")
    assert (await bed.provider.account()).credit is not None


async def test_nothing_is_printed_and_no_logger_is_changed(bed: Bed, capfd: pytest.CaptureFixture):
    handlers = list(logging.getLogger().handlers)
    bed.poison("list", "http_500", times=-1)
    await bed.up()
    with pytest.raises(ProviderError):
        await bed.provider.instances()
    assert logging.getLogger("vastai").handlers == []
    assert logging.getLogger("vastai").propagate
    assert logging.getLogger().handlers == handlers
    assert capfd.readouterr() == ("", "")


async def test_without_a_key_nothing_is_asked(bed: Bed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VAST_API_KEY", "not-for-us")
    with pytest.raises(AuthError, match="no key"):
        await bed.with_key(" ").account()
    assert bed.market.calls == []


async def test_the_package_is_imported_only_by_a_call():
    program = "import sys, llmctl.providers.vast.adapter as a; a.VastProvider('k'); print('vastai' in sys.modules)"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert (await child.communicate())[0] == b"False\n"


async def test_nobody_listens():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        provider = VastProvider("key", base_url=url)
        with pytest.raises(ProviderError, match="Connection refused") as refused:
            await provider.account()
        assert refused.value.retryable
        # not a word was sent, so there can be no instance
        with pytest.raises(NoAnswer) as unsent:
            await VastApi("key", base_url=url, key_hint="", timeout_s=5.0).create("7", image="x")
        assert not unsent.value.sent


async def test_retry_after_is_honoured(bed: Bed, vast: VastEmulator):
    bed.poison("get", "429_retry_after", times=2)
    assert await bed.provider.get("1") is None
    assert bed.calls("get") == 3
