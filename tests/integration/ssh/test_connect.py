"""Logging in to a real sshd: pins, refusals, silence, and which address is taken."""

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from llmctl.core.errors import ExitCode, HostKeyChanged, SshError
from llmctl.core.rental import SshAddress
from llmctl.ssh.connect import SshTarget, connect
from llmctl.ssh.hostkeys import fingerprint
from llmctl.ssh.keys import Key, load_or_make_key
from llmctl.ssh.sockets import BufferedSocket
from tests.integration.ssh.pins import Pins
from tests.integration.ssh.sshd import Sshd


def at(target: SshTarget, *addresses: SshAddress) -> SshTarget:
    return msgspec.structs.replace(target, addresses=addresses)


@pytest.fixture
def silent() -> Iterator[SshAddress]:
    """Something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield SshAddress(host="127.0.0.1", port=listener.getsockname()[1])


@pytest.fixture
def closed() -> SshAddress:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return SshAddress(host="127.0.0.1", port=listener.getsockname()[1])


def greeter(words: bytes) -> Iterator[SshAddress]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(words)
                    connection.recv(4096)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield SshAddress(host="127.0.0.1", port=listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_first_contact_pins_the_host_key(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    connection = connect(target, key, pins)
    connection.transport.close()
    assert connection.first_contact
    assert connection.address == sshd.address
    assert connection.host_key == sshd.host_key_line() == pins.pinned("uuid", "1")
    again = connect(target, key, pins)
    again.transport.close()
    assert not again.first_contact


def test_login_uses_gcm_and_no_delay_and_ran_a_command_first(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    connection = connect(target, key, pins)
    transport = connection.transport
    try:
        assert transport.remote_cipher == transport.local_cipher == "aes128-gcm@openssh.com"
        assert transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert "Starting session: command" in sshd.log.read_text()
    finally:
        transport.close()


def test_changed_host_key_is_terminal_and_nothing_is_sent(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    connect(target, key, pins).transport.close()
    old = sshd.host_key_line()
    sshd.stop()
    sshd.new_host_key()
    sshd.log.write_text("")
    sshd.start()
    with pytest.raises(HostKeyChanged) as caught:
        connect(target, key, pins)
    assert fingerprint(old) in caught.value.message
    assert fingerprint(sshd.host_key_line()) in caught.value.message
    assert caught.value.terminal
    assert caught.value.exit_code is ExitCode.CREDENTIALS
    assert caught.value.hint is not None
    assert "llmctl instance trust box" in caught.value.hint
    assert "publickey" not in sshd.log.read_text()
    assert pins.pinned("uuid", "1") == old


def test_other_key_type_is_a_changed_host_key(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    connect(target, key, pins).transport.close()
    sshd.stop()
    sshd.show("ecdsa", "rsa")
    sshd.start()
    with pytest.raises(HostKeyChanged, match="shows no ssh-ed25519 host key any more"):
        connect(target, key, pins)


def test_further_host_key_types_do_not_matter(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    sshd.stop()
    sshd.show("rsa")
    sshd.start()
    connection = connect(target, key, pins)
    connection.transport.close()
    assert connection.host_key.startswith("ssh-rsa ")
    sshd.stop()
    sshd.show("ed25519", "rsa")
    sshd.start()
    again = connect(target, key, pins)
    again.transport.close()
    assert again.host_key == connection.host_key


def test_new_generation_is_a_first_contact(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    connect(target, key, pins).transport.close()
    sshd.stop()
    sshd.new_host_key()
    sshd.start()
    connection = connect(msgspec.structs.replace(target, generation="2"), key, pins)
    connection.transport.close()
    assert connection.first_contact


def test_refused_key_is_terminal_and_pins_nothing(
    sshd: Sshd, target: SshTarget, pins: Pins, tmp_path: Path
) -> None:
    other = load_or_make_key(tmp_path / "other")
    with pytest.raises(SshError, match="refused our key SHA256:") as caught:
        connect(target, other, pins)
    assert caught.value.terminal
    assert caught.value.hint is not None
    assert other.public_line in caught.value.hint
    assert pins.keys == {}


def test_only_our_key_is_offered(
    sshd: Sshd, target: SshTarget, pins: Pins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nowhere"))
    other = load_or_make_key(tmp_path / "other")
    with pytest.raises(SshError):
        connect(target, other, pins)
    tried = [line for line in sshd.log.read_text().splitlines() if "Failed publickey" in line]
    assert len(tried) == 1


def test_refused_connection_names_address_and_reason(
    target: SshTarget, key: Key, pins: Pins, closed: SshAddress
) -> None:
    with pytest.raises(SshError) as caught:
        connect(at(target, closed), key, pins)
    assert caught.value.message == f"cannot reach {closed}: connection refused"
    assert not caught.value.terminal


def test_unknown_name(target: SshTarget, key: Key, pins: Pins) -> None:
    nowhere = SshAddress(host="machine.invalid")
    with pytest.raises(SshError, match=r"root@machine\.invalid:22: its name cannot be resolved"):
        connect(at(target, nowhere), key, pins)


def test_no_banner(target: SshTarget, key: Key, pins: Pins, silent: SshAddress) -> None:
    with pytest.raises(SshError, match=r"sent no SSH banner within 0\.3 s"):
        connect(at(target, silent), key, pins, timeout_s=0.3)


def test_something_else_listens(target: SshTarget, key: Key, pins: Pins) -> None:
    for address in greeter(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"\r\n" * 200):
        with pytest.raises(SshError, match="does not speak SSH"):
            connect(at(target, address), key, pins)


def test_silence_after_the_banner(target: SshTarget, key: Key, pins: Pins) -> None:
    for address in greeter(b"SSH-2.0-stuck\r\n" + struct.pack(">I", 0)[:0]):
        with pytest.raises(SshError, match=r"the key exchange"):
            connect(at(target, address), key, pins, timeout_s=0.3)


def test_frozen_sshd(sshd: Sshd, target: SshTarget, key: Key, pins: Pins) -> None:
    sshd.freeze()
    with pytest.raises(SshError, match=r"sent no SSH banner within 0\.5 s"):
        connect(target, key, pins, timeout_s=0.5)
    sshd.thaw()
    connect(target, key, pins).transport.close()


def test_direct_address_first_then_relay(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins, closed: SshAddress
) -> None:
    relay = msgspec.structs.replace(sshd.address, relay=True)
    connection = connect(at(target, relay, closed), key, pins)
    connection.transport.close()
    assert connection.address == relay
    direct = connect(at(target, relay, sshd.address), key, pins)
    direct.transport.close()
    assert direct.address == sshd.address


def test_all_failures_are_named(
    target: SshTarget, key: Key, pins: Pins, closed: SshAddress, silent: SshAddress
) -> None:
    relay = msgspec.structs.replace(silent, relay=True)
    with pytest.raises(SshError) as caught:
        connect(at(target, relay, closed), key, pins, timeout_s=0.3)
    refused, late = caught.value.message.split("; ")
    assert refused == f"cannot reach {closed}: connection refused"
    assert late == f"{relay} sent no SSH banner within 0.3 s"


def test_no_address(target: SshTarget, key: Key, pins: Pins) -> None:
    with pytest.raises(SshError, match="no address of box is known yet"):
        connect(at(target), key, pins)


def test_no_command_allowed(tmp_path: Path, key: Key, pins: Pins) -> None:
    with Sshd(tmp_path / "s", authorized=[key.public_line], max_sessions=0) as sshd:
        target = SshTarget(instance="i", generation="", addresses=(sshd.address,))
        with pytest.raises(SshError, match="lets us in but runs no command"):
            connect(target, key, pins)


def test_failed_logins_leave_no_thread(
    target: SshTarget, key: Key, pins: Pins, silent: SshAddress, tmp_path: Path
) -> None:
    before = threading.active_count()
    other = load_or_make_key(tmp_path / "other")
    for _ in range(3):
        with pytest.raises(SshError):
            connect(at(target, silent), key, pins, timeout_s=0.1)
        with pytest.raises(SshError):
            connect(target, other, pins)
    assert threading.active_count() == before


def test_buffered_socket_gives_every_byte_once_and_in_order() -> None:
    here, there = socket.socketpair()
    sent = bytes(range(256)) * 2000
    buffered = BufferedSocket(here)
    writer = threading.Thread(target=lambda: (there.sendall(sent), there.close()))
    writer.start()
    received = bytearray()
    while piece := buffered.recv(len(received) % 977 + 1):
        received += piece
    writer.join()
    assert received == sent
    assert not buffered._closed
    buffered.close()
    assert buffered._closed
