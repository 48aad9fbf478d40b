"""Memory of clients that ask for a stream and then read nothing of it.

``python -m benchmarks.stalled [--clients 50] [--body-kb 60]``. Each has an answer of its own, which
the engine gives as fast as it is taken: megabytes, so that every buffer on the way fills up.
"""

import argparse
import contextlib
import socket
import time
from collections.abc import Iterator

from benchmarks import bodies, processes

TOKENS = 400_000
"""Twenty megabytes of events."""
SETTLED_S = 2.0
LONGEST_S = 40.0
"""Less than the minute after which serve ends such a connection."""


@contextlib.contextmanager
def stalled(port: int, number: int, body_kb: int) -> Iterator[None]:
    """Send a request and read nothing until the block ends."""
    body = bodies.never_seen(body_kb * 1000, number)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(bodies.http("/v1/messages", body, port=port, token=processes.TOKEN))
        yield


def settled_mb(pid: int) -> float:
    """Return the highest memory, once it has not grown for some time."""
    highest, since, end = 0.0, time.monotonic(), time.monotonic() + LONGEST_S
    while time.monotonic() < min(since + SETTLED_S, end):
        now = processes.rss_mb(pid)
        if now > highest + 0.25:
            highest, since = now, time.monotonic()
        time.sleep(0.1)
    return highest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--body-kb", type=int, default=60)
    options = parser.parse_args()
    processes.pin(0, processes.OTHERS)
    engine_options = ("--tokens", str(TOKENS), "--rate", "0", "--burst", "50")
    with processes.ollama(*engine_options) as engine, processes.llmctl(engine) as (port, pid):
        with contextlib.ExitStack() as first:
            first.enter_context(stalled(port, 0, options.body_kb))
            settled_mb(pid)  # the vocabulary and what else is made once
        idle = settled_mb(pid)
        with contextlib.ExitStack() as stack:
            for number in range(options.clients):
                stack.enter_context(stalled(port, number + 1, options.body_kb))
            grown = settled_mb(pid) - idle
    processes.report(
        f"{options.clients} stalled streams",
        idle_mb=idle,
        grown_mb=grown,
        goal_mb=64,
        kb_per_stream=grown * 1024 / options.clients,
    )


if __name__ == "__main__":
    main()
