"""Who guesses tokens, in a process of its own: its work must not slow the client it is beside.

``python -m benchmarks.scorecard.guesser --url URL --count N --within SECONDS`` says ``sending``
once it has begun, and at the end one JSON line: how many answers had which status, and when the
last guess was sent and the last answer had come.
"""

import argparse
import asyncio
import json
import secrets
import time
from collections import Counter

import aiohttp


async def guess(url: str, count: int, within_s: float) -> None:
    """Send each at its time, whatever became of those before."""
    statuses: Counter[int] = Counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one() -> None:
            headers = {"x-api-key": f"llmctl_{secrets.token_urlsafe(32)}"}
            async with session.post(f"{url}/v1/messages", json=[], headers=headers) as response:
                await response.read()
                statuses[response.status] += 1

        began = time.monotonic()
        print("sending", flush=True)
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                due = began + within_s * number / count
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(one())
            sent_s = time.monotonic() - began
        answered_s = time.monotonic() - began
    print(json.dumps({"statuses": statuses, "sent_s": sent_s, "answered_s": answered_s}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--within", type=float, required=True, metavar="SECONDS")
    options = parser.parse_args()
    asyncio.run(guess(options.url, options.count, options.within))


if __name__ == "__main__":
    main()
