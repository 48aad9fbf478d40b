"""Requests that schemathesis makes from the document at ``/openapi.json``, right ones and wrong."""

import asyncio
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
MODELS = ["claude-sonnet-5", "qwen3-coder:30b"]


@dataclass(frozen=True)
class Tried:
    """What a run came to."""

    requests: int
    failed: int
    said: str
    """Its last words."""


def command() -> str | None:
    """Return where schemathesis is, beside this Python or anywhere."""
    beside = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    return beside or shutil.which("schemathesis")


async def requests_from_the_document(
    url: str, token: str, directory: Path, *, examples: int, program: str
) -> Tried:
    """Make up to so many for each path; names of models are those that exist, else all were 404."""
    path = directory / "openapi.json"
    path.write_text(json.dumps(await _document(url, token)))  # noqa: ASYNC240  nothing else runs
    words = ["run", str(path), "--url", url, "--no-color", "-n", str(examples), "--seed", "7"]
    words += ["-H", f"x-api-key: {token}", "-c", ",".join(CHECKS)]
    process = await asyncio.create_subprocess_exec(
        *(program, *words),
        cwd=directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said = (await process.communicate())[0].decode(errors="replace")
    except BaseException:
        process.kill()
        raise
    found = re.search(r"(\d+) generated(?:, (\d+) found)?", said)
    made, wrong = (int(found[1]), int(found[2] or 0)) if found else (0, 1)
    return Tried(made, max(wrong, int(process.returncode != 0)), said[-3000:])


async def _document(url: str, token: str) -> dict:
    async with aiohttp.ClientSession(headers={"x-api-key": token}) as session:
        async with session.get(f"{url}/openapi.json") as answer:
            document = await answer.json()
    for name in ("MessagesRequest", "TokensRequest"):
        document["components"]["schemas"][name]["properties"]["model"] = {"enum": MODELS}
    return document
