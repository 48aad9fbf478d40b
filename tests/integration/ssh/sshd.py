"""A real sshd on a free port, run by the current user with keys and configuration of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from llmctl.core.rental import SshAddress

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
START_S = 20.0


def require_sshd() -> str:
    """Return sshd's path; skips the test where there is none."""
    if SSHD is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd on this machine (Debian: apt-get install openssh-server)")
    return SSHD


class Sshd:
    """``with Sshd(directory, authorized=[key.public_line]) as sshd: ... sshd.address``.

    ``authorized``   lines of authorized_keys; options such as ``restrict,...`` go in front
    ``host_keys``    types to show, in order: ``ed25519``, ``ecdsa``, ``rsa``
    ``rekey_limit``  sshd's RekeyLimit, e.g. ``"1M"``: new keys after so many bytes
    ``max_sessions`` sshd's MaxSessions; 0 allows no command at all
    ``environment``  set for everything that runs in a session, ``HOME`` included
    ``extra``        further lines of sshd_config
    The port stays the same over ``stop`` and ``start``.
    """

    def __init__(
        self,
        directory: Path,
        *,
        authorized: list[str],
        host_keys: tuple[str, ...] = ("ed25519",),
        rekey_limit: str | None = None,
        max_sessions: int | None = None,
        environment: dict[str, str] | None = None,
        extra: tuple[str, ...] = (),
        port: int | None = None,
    ) -> None:
        self._sshd = require_sshd()
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.port = port or _free_port()
        self.address = SshAddress(host="127.0.0.1", port=self.port, user=self.user)
        self.log = directory / "sshd.log"
        self._host_keys = host_keys
        self._rekey_limit = rekey_limit
        self._max_sessions = max_sessions
        self._environment = environment or {}
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None
        self.authorize(*authorized)

    def authorize(self, *lines: str) -> None:
        """Let exactly these keys in from now on."""
        path = self._directory / "authorized_keys"
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(0o600)

    def host_key_line(self, kind: str = "ed25519") -> str:
        """Return ``ssh-ed25519 AAAA…`` of a host key, made if there is none yet."""
        path = self._key_file(kind).with_suffix(".pub")
        return " ".join(path.read_text().split()[:2])

    def new_host_key(self) -> None:
        """Have other host keys from the next start on."""
        for kind in self._host_keys:
            for path in (self._key_path(kind), self._key_path(kind).with_suffix(".pub")):
                path.unlink(missing_ok=True)

    def show(self, *kinds: str) -> None:
        """Show host keys of these types from the next start on."""
        self._host_keys = kinds

    def start(self) -> "Sshd":
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = self._directory / "sshd_config"
        config.write_text(self._config())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._sshd, "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_it_listens()
        return self

    def stop(self) -> None:
        """End the listener and every session."""
        if self._process is None:
            return
        sessions = self.sessions()
        for pid in (*sessions, self._process.pid):
            _signal(pid, signal.SIGCONT)
            _signal(pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def sessions(self) -> list[int]:
        """Return the processes of sshd that serve connections now, children after parents."""
        assert self._process is not None
        children: dict[int, list[int]] = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError):
                head, _, tail = status.read_text().rpartition(")")
                if head.partition("(")[2].startswith("sshd"):
                    children.setdefault(int(tail.split()[1]), []).append(int(status.parent.name))
        found: list[int] = []
        waiting = [self._process.pid]
        while waiting:
            mine = children.get(waiting.pop(0), [])
            found += mine
            waiting += mine
        return found

    def kill_sessions(self) -> None:
        """Cut every connection as a crash would; what runs detached goes on."""
        for pid in self.sessions():
            _signal(pid, signal.SIGKILL)

    def freeze(self) -> None:
        """Let nothing of sshd answer any more; the kernel still takes connections and bytes."""
        assert self._process is not None
        for pid in (self._process.pid, *self.sessions()):
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        for pid in (self._process.pid, *self.sessions()):
            _signal(pid, signal.SIGCONT)

    def __enter__(self) -> "Sshd":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _key_path(self, kind: str) -> Path:
        return self._directory / f"host_{kind}"

    def _key_file(self, kind: str) -> Path:
        path = self._key_path(kind)
        if not path.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        return path

    def _config(self) -> str:
        lines = [
            f"ListenAddress 127.0.0.1:{self.port}",
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            "MaxStartups 200",
            "LogLevel VERBOSE",
            f"AuthorizedKeysFile {self._directory / 'authorized_keys'}",
            *(f"HostKey {self._key_file(kind)}" for kind in self._host_keys),
        ]
        if self._rekey_limit is not None:
            lines.append(f"RekeyLimit {self._rekey_limit}")
        if self._max_sessions is not None:
            lines.append(f"MaxSessions {self._max_sessions}")
        if self._environment:
            pairs = " ".join(f'"{name}={value}"' for name, value in self._environment.items())
            lines.append(f"SetEnv {pairs}")
        return "\n".join([*lines, *self._extra]) + "\n"

    def _wait_until_it_listens(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"sshd ended: {self.log.read_text()}")
            if f"port {self.port}." in self.log.read_text(errors="replace"):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                    return
            time.sleep(0.01)
        raise AssertionError(f"sshd does not listen: {self.log.read_text()}")


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
