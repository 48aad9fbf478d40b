"""For whom a connection counts."""

import pytest

from llmctl.proxy.peers import is_this_machine, peer_name


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fd00::1:2", "fd00::/64"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("fe80::2%eth0", "fe80::2%eth0"),
        ("::1", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("", ""),
        ("a socket file", "a socket file"),
    ],
)
def test_the_peer_of_an_address(address: str, peer: str) -> None:
    assert peer_name(address) == peer


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.7", False),
        ("2001:db8::1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_which_peers_are_this_machine(address: str, *, ours: bool) -> None:
    assert is_this_machine(peer_name(address)) is ours
