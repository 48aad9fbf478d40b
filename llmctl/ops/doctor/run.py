"""Runs checks at the same time, each within its limit; none can spoil the others."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from llmctl.core.errors import LlmctlError
from llmctl.core.reports_health import CheckState, DoctorReport, Finding

log = logging.getLogger(__name__)

QUICK_S = 10.0


class Check(Struct, frozen=True, kw_only=True):
    """One thing to look at; it may find several."""

    section: str
    name: str
    look: Callable[[], Awaitable[list[Finding]]]
    within_s: float = QUICK_S


async def run_checks(checks: Sequence[Check]) -> DoctorReport:
    """Run all of them; what they found stays in their order."""
    found = await asyncio.gather(*(_run(check) for check in checks))
    return DoctorReport(findings=[finding for each in found for finding in each])


async def _run(check: Check) -> list[Finding]:
    began = time.monotonic()
    findings = await _looked(check)
    took_ms = round((time.monotonic() - began) * 1000, 1)
    return [
        finding if finding.took_ms is not None else replace(finding, took_ms=took_ms)
        for finding in findings
    ]


async def _looked(check: Check) -> list[Finding]:
    def only(state: CheckState, detail: str, fix: str = "") -> list[Finding]:
        return [
            Finding(section=check.section, name=check.name, state=state, detail=detail, fix=fix)
        ]

    try:
        async with asyncio.timeout(check.within_s):
            return await check.look()
    except TimeoutError:
        detail = f"this was not found out within {check.within_s:g} s"
        return only(CheckState.UNKNOWN, detail)
    except LlmctlError as failure:
        return only(CheckState.BAD, failure.message, failure.hint or "")
    except Exception as bug:
        log.info("the check %s failed", check.name, exc_info=bug)
        detail = f"the check itself failed: {type(bug).__name__}: {bug}"
        return only(CheckState.UNKNOWN, detail, "llmctl doctor -vv")
