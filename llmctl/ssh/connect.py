"""Log in to a machine: its host key is checked before ours is shown, and only ours is shown.

Blocking; callers run it in a thread. What a login needs is stated here in full: nothing of
``~/.ssh`` is read, no agent is asked.
"""

import logging
import threading
import time

import paramiko
from msgspec import Struct

from llmctl.core.errors import HostKeyChanged, SshError
from llmctl.core.rental import SshAddress
from llmctl.ssh.hostkeys import HostKeys, fingerprint
from llmctl.ssh.keys import Key
from llmctl.ssh.sockets import BufferedSocket, open_socket, reason

log = logging.getLogger(__name__)

TIMEOUT_S = 15.0
JOIN_S = 5.0
CIPHERS = (
    "aes128-gcm@openssh.com",  # a third of the CPU of CTR with HMAC, and out of reach of Terrapin
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
)
WEAK = {
    "ciphers": ["aes128-cbc", "aes192-cbc", "aes256-cbc", "3des-cbc"],
    "macs": ["hmac-sha1", "hmac-md5", "hmac-sha1-96", "hmac-md5-96"],
}
"""What paramiko 5 still offers, last."""
_RSA = ("rsa-sha2-512", "rsa-sha2-256")
"""How an ``ssh-rsa`` key may sign (RFC 8332)."""


class SshTarget(Struct, frozen=True, kw_only=True):
    """A machine to log in to."""

    instance: str
    """The rental's uuid: host keys are pinned under it."""
    generation: str
    addresses: tuple[SshAddress, ...]
    name: str = ""
    """What the operator calls it, for hints."""
    engine_port: int = 11434
    """Where the engine listens on its 127.0.0.1."""


class Connection(Struct, frozen=True, kw_only=True):
    """A login; whoever has it closes ``transport``."""

    transport: paramiko.Transport
    """Authenticated, and used by one command already."""
    address: SshAddress
    host_key: str
    """``ssh-ed25519 AAAA…``: what is pinned now."""
    first_contact: bool = False
    """The host key was not known before: its fingerprint should be said."""


def connect(
    target: SshTarget, key: Key, pins: HostKeys, *, timeout_s: float = TIMEOUT_S
) -> Connection:
    """Log in at the first address that works, direct ones before relays.

    ``timeout_s`` holds for each step: TCP, banner, key exchange, authentication, first command.
    Raises ``SshError`` naming every address that was tried and why it failed; at once, without
    trying others, when our key is refused (terminal) or with ``HostKeyChanged``.
    """
    if not target.addresses:
        raise SshError(f"no address of {target.name or target.instance} is known yet")
    failures: list[SshError] = []
    for address in sorted(target.addresses, key=lambda each: each.relay):
        try:
            return _login(target, address, key, pins, timeout_s)
        except SshError as failure:
            if failure.terminal:
                raise
            log.info("login failed: %s", failure.message)
            failures.append(failure)
    if len(failures) == 1:
        raise failures[0]
    raise SshError("; ".join(failure.message for failure in failures))


def hang_up(transport: paramiko.Transport) -> None:
    """End a connection whatever state it is in; ``Transport.close`` alone may block or do nothing.

    Returns once its thread has ended.
    """
    transport.sock.close()
    transport.close()
    if transport.is_alive() and transport is not threading.current_thread():
        transport.join(JOIN_S)


def _login(
    target: SshTarget, address: SshAddress, key: Key, pins: HostKeys, timeout_s: float
) -> Connection:
    pinned = pins.pinned(target.instance, target.generation)
    sock = BufferedSocket(open_socket(address, timeout_s))
    transport = _transport(sock, pinned, timeout_s)
    try:
        shown = _shake_hands(transport, target, address, pinned, timeout_s)
        _authenticate(transport, address, key, timeout_s)
        _run_true(transport, address, timeout_s)
    except BaseException:
        hang_up(transport)
        raise
    if pinned is None:
        # Only now: a relay that still leads to another machine refuses our key, and no pin is left.
        pins.pin(target.instance, target.generation, shown)
        log.info("pinned host key %s of %s", fingerprint(shown), address)
    return Connection(
        transport=transport, address=address, host_key=shown, first_contact=pinned is None
    )


def _transport(sock: BufferedSocket, pinned: str | None, timeout_s: float) -> paramiko.Transport:
    transport = paramiko.Transport(sock, disabled_algorithms=WEAK)  # type: ignore[arg-type]
    # Failures are raised in our own words; its log would print a traceback for each.
    transport.set_log_channel(f"{__name__}.wire")
    logging.getLogger(f"{__name__}.wire").setLevel(logging.CRITICAL)
    options = transport.get_security_options()
    options.ciphers = CIPHERS
    if pinned is not None:
        # Only the pinned key's own type: a machine that shows another one is another machine.
        kind = pinned.split(maxsplit=1)[0]
        options.key_types = _RSA if kind == "ssh-rsa" else (kind,)
    transport.banner_timeout = timeout_s
    transport.handshake_timeout = timeout_s
    transport.auth_timeout = timeout_s
    return transport


def _shake_hands(
    transport: paramiko.Transport,
    target: SshTarget,
    address: SshAddress,
    pinned: str | None,
    timeout_s: float,
) -> str:
    """Exchange keys and return the host's, checked; nothing of ours has been sent by then."""
    begin = time.monotonic()
    try:
        transport.start_client(timeout=2 * timeout_s)
    except (paramiko.SSHException, EOFError, OSError) as failure:
        if pinned is not None and "no acceptable host key" in str(failure):
            raise _changed(target, address, pinned, shown=None) from failure
        late = time.monotonic() - begin >= timeout_s
        raise SshError(_handshake_words(transport, address, failure, late, timeout_s)) from failure
    if not transport.initial_kex_done:
        raise SshError(f"{address} did not finish the key exchange within {2 * timeout_s:g} s")
    remote = transport.get_remote_server_key()
    shown = f"{remote.get_name()} {remote.get_base64()}"
    if pinned is not None and shown.split()[:2] != pinned.split()[:2]:
        raise _changed(target, address, pinned, shown=shown)
    return shown


def _handshake_words(
    transport: paramiko.Transport,
    address: SshAddress,
    failure: BaseException,
    late: bool,
    timeout_s: float,
) -> str:
    if "Indecipherable protocol version" in str(failure):
        return f"what listens at {address} does not speak SSH"
    if not transport.remote_version:
        if late:
            return f"{address} sent no SSH banner within {timeout_s:g} s"
        return f"{address} closed the connection before its SSH banner"
    if late:
        return f"{address} did not finish the key exchange within {timeout_s:g} s"
    return f"the key exchange with {address} failed: {reason(failure)}"


def _changed(
    target: SshTarget, address: SshAddress, pinned: str, *, shown: str | None
) -> HostKeyChanged:
    kind = pinned.split(maxsplit=1)[0]
    other = f"host key {fingerprint(shown)}" if shown else f"no {kind} host key any more"
    return HostKeyChanged(
        f"{address} shows {other}; pinned for it is {fingerprint(pinned)}; nothing was sent to it",
        hint="if you know why the machine has a new key: "
        f"llmctl instance trust {target.name or target.instance}",
    )


def _authenticate(
    transport: paramiko.Transport, address: SshAddress, key: Key, timeout_s: float
) -> None:
    try:
        missing = transport.auth_publickey(address.user, key.private)
    except (paramiko.SSHException, EOFError, OSError) as failure:
        if "timeout" in str(failure).lower():
            raise SshError(
                f"{address} did not answer the login within {timeout_s:g} s"
            ) from failure
        if not transport.is_active():
            raise SshError(f"{address} closed the connection during the login") from failure
        raise _refused(address, key) from failure
    if missing:
        raise _refused(address, key)


def _refused(address: SshAddress, key: Key) -> SshError:
    return SshError(
        f"{address} refused our key {fingerprint(key.public_line)}",
        hint=f"add this line to ~{address.user}/.ssh/authorized_keys there: {key.public_line}",
        terminal=True,
    )


def _run_true(transport: paramiko.Transport, address: SshAddress, timeout_s: float) -> None:
    """Run a command before anything else: sshd up to 10.0 sets TCP_NODELAY only then."""
    try:
        channel = transport.open_session(timeout=timeout_s)
        channel.settimeout(timeout_s)
        with channel:
            channel.exec_command("true")
            ended: threading.Event = channel.status_event
            if not ended.wait(timeout_s):
                raise SshError(f"{address} did not run `true` within {timeout_s:g} s")
    except (paramiko.SSHException, EOFError, OSError) as failure:
        raise SshError(
            f"{address} lets us in but runs no command: {reason(failure)}",
            hint="its sshd must allow commands (no interactive-only relay)",
        ) from failure
