"""Items that a test-suite covers at full size: the suite is run, and its tests are counted."""

import asyncio
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scorecard.card import Figure, Missing, Run

ROOT = Path(__file__).parents[2]
LONGEST_S = 900.0


@dataclass(frozen=True)
class Counts:
    """What a run of tests came to."""

    passed: int
    failed: tuple[str, ...]
    skipped: tuple[str, ...]
    """Reasons."""


async def counted(run: Run, *where: str, only: str = "") -> Counts:
    """Run tests by file or id; ``only`` is pytest's ``-k``."""
    report = run.directory / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "no:xdist", f"--junitxml={report}", *(["-k", only] if only else []), *where]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), LONGEST_S)
    except BaseException:
        process.kill()
        raise
    if process.returncode not in (0, 1) or not report.exists():
        raise Missing(f"pytest ended with {process.returncode}: {said[-300:].decode()!r}")
    return _counts(report)


def _counts(report: Path) -> Counts:
    failed, skipped, passed = [], [], 0
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name", ""))
        elif (left_out := case.find("skipped")) is not None:
            skipped.append(left_out.get("message", ""))
        else:
            passed += 1
    return Counts(passed, tuple(failed), tuple(skipped))


def figures(name: str, counts: Counts, *, at_least: int = 1) -> Sequence[Figure]:
    """Return counts as figures; raises ``Missing`` where tests could not run here."""
    if counts.skipped and counts.passed + len(counts.failed) < at_least:
        raise Missing(counts.skipped[0])
    return (
        Figure(f"{name}: failed", len(counts.failed), "cases", 0, note=", ".join(counts.failed)),
        Figure(f"{name}: passed", counts.passed, "cases", at_least, at_least=True),
    )
