"""Figures of the other benchmarks, each run in a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.scorecard.card import Missing, Run

ROOT = Path(__file__).parents[2]
LONGEST_S = 1200.0


async def lines(run: Run, module: str, *arguments: str) -> list[dict[str, Any]]:
    """Run ``python -m MODULE ARGUMENTS`` and return its JSON lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(run.directory)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), LONGEST_S)
    except BaseException:
        process.kill()
        raise
    if process.returncode:
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        raise Missing(f"{module} {' '.join(arguments)} ended with {process.returncode}: {last}")
    return [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
