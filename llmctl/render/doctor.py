"""What the doctor found: a line for each check, and what to type where something has to be done."""

from typing import Any

import msgspec

from llmctl.core.reports_health import CheckState, DoctorReport
from llmctl.render.checks import Row, rows_text


def doctor_text(
    report: DoctorReport, *, width: int | None = None, colour: bool = False, quiet: bool = False
) -> str:
    """Return the lines; ``quiet`` leaves out what is well."""
    rows = [
        Row(
            state=finding.state,
            kind=finding.section,
            name=finding.name,
            timing="",
            detail=finding.detail,
            fix=finding.fix,
        )
        for finding in report.findings
        if not quiet or finding.state is CheckState.BAD
    ]
    return rows_text(rows, width=width, colour=colour) + f"\n{_verdict(report)}\n"


def doctor_document(report: DoctorReport) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    return {"healthy": report.healthy, "findings": msgspec.to_builtins(report.findings)}


def _verdict(report: DoctorReport) -> str:
    bad = sum(finding.state is CheckState.BAD for finding in report.findings)
    if not bad:
        return "nothing has to be done"
    return f"{bad} thing has to be done" if bad == 1 else f"{bad} things have to be done"
