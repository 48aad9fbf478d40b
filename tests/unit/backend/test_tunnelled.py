"""How an engine behind a tunnel is called."""

import pytest
from yarl import URL

from llmctl.backend.tunnelled import tunnel_url
from llmctl.ssh.supervisor import Tunnel


async def nowhere() -> None:
    raise AssertionError


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("my-gpu", "my-gpu.localhost"),
        ("root@203.0.113.7:22", "root-203-0-113-7-22.localhost"),
        ("Ünïcode box", "n-code-box.localhost"),
        ("@", "engine.localhost"),
    ],
)
def test_its_name_is_a_host_name_whatever_the_operator_calls_it(name: str, host: str) -> None:
    url = URL(tunnel_url(Tunnel(name, nowhere, nowhere, port=11434)))
    assert (url.scheme, url.host, url.port, url.user) == ("http", host, 11434, None)
