"""A provider's API as far as a watchdog sees it: says what it is told to, and remembers."""

import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Call:
    at: float
    method: str
    path: str
    key: str
    body: str


class Recorder:
    """``with Recorder() as api: ... api.url ... api.calls``; ``statuses`` are given out in turn."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.statuses: list[int] = []

    def __enter__(self) -> "Recorder":
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
                recorder.calls.append(Call(time.time(), self.command, self.path, key, body))
                status = recorder.statuses.pop(0) if recorder.statuses else 200
                self.send_response(status)
                self.send_header("Content-Length", "16")
                self.end_headers()
                self.wfile.write(b'{"success":true}')

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
