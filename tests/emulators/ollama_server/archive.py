"""Packs the emulated Ollama as releases are packed, and serves it with whatever goes wrong."""

import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("ollama")


@dataclass(frozen=True)
class Packed:
    name: str
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def pack(
    kind: str = "tar.zst", *, version: str = "0.33.0", ballast: int = 200_000, broken: bool = False
) -> Packed:
    """Return an archive with ``bin/ollama`` and ``lib/ollama/``.

    ``ballast`` bytes cannot be compressed, so that downloads take a moment. ``broken``: the program
    in it does not run. Skips the test where zstd is needed and missing.
    """
    script = SCRIPT.read_text().replace('VERSION = "0.33.0"', f'VERSION = "{version}"')
    # What is tested is not whether a machine has Python on its path.
    script = script.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1)
    if broken:
        script = "#!/bin/sh\nexit 1\n"
    noise = b"".join(
        hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(ballast // 32)
    )
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz" if kind == "tgz" else "w") as tar:
        _add(tar, "bin/ollama", script.encode(), 0o755)
        _add(tar, "lib/ollama/ballast.bin", noise, 0o644)
    if kind == "tgz":
        return Packed("ollama-linux-amd64.tgz", raw.getvalue())
    if (zstd := shutil.which("zstd")) is None:
        pytest.skip("no zstd on this machine (Debian: apt-get install zstd)")
    done = subprocess.run([zstd, "-q", "-c"], input=raw.getvalue(), capture_output=True, check=True)
    return Packed("ollama-linux-amd64.tar.zst", done.stdout)


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    tar.addfile(info, io.BytesIO(content))


class ArchiveServer:
    """``with ArchiveServer(pack()) as server: ... server.url ... server.requests``.

    ``cuts``      numbers of bytes after which the next answers break off
    ``ranges``    whether it can go on in the middle
    ``status``    what it answers instead of the file
    ``claimed``   a Content-Length of its own, for HEAD
    """

    def __init__(self, packed: Packed) -> None:
        self.packed = packed
        self.cuts: list[int] = []
        self.ranges = True
        self.status: int | None = None
        self.claimed: int | None = None
        self.requests: list[tuple[str, str | None]] = []

    @property
    def downloads(self) -> list[str | None]:
        """The ``Range`` of each GET."""
        return [asked for method, asked in self.requests if method == "GET"]

    def __enter__(self) -> "ArchiveServer":
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                outer._answer(self, head=True)

            def do_GET(self) -> None:
                outer._answer(self, head=False)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/{self.packed.name}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, *, head: bool) -> None:
        asked = handler.headers.get("Range")
        self.requests.append((handler.command, asked))
        content, begin = self.packed.content, 0
        if self.status is not None:
            handler.send_error(self.status)
            return
        if asked and self.ranges and (match := re.fullmatch(r"bytes=(\d+)-", asked)):
            begin = int(match[1])
            if begin >= len(content):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        length = len(content) - begin
        handler.send_header("Content-Length", str(self.claimed or length if head else length))
        handler.end_headers()
        if not head:
            end = begin + self.cuts.pop(0) if self.cuts else None
            handler.wfile.write(content[begin:end])
