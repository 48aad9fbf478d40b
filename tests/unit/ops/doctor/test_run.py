import asyncio

from llmctl.core.errors import ConfigError
from llmctl.core.reports_health import CheckState, Finding
from llmctl.ops.doctor.run import Check, run_checks


def found(name, state=CheckState.OK):
    return Finding(section="s", name=name, state=state, detail="d")


def check(name, look, **changes):
    return Check(section="s", name=name, look=look, **changes)


async def test_none_spoils_the_others_and_the_order_stays():
    started = []

    async def slow():
        started.append("slow")
        await asyncio.sleep(0)
        return [found("slow"), found("slow too")]

    async def broken():
        started.append("broken")
        raise RuntimeError("boom")

    async def stuck():
        started.append("stuck")
        await asyncio.Event().wait()

    async def refused():
        raise ConfigError("cannot be 3", hint="make it 4")

    report = await run_checks(
        [
            check("slow", slow),
            check("broken", broken),
            check("stuck", stuck, within_s=0.01),
            check("refused", refused),
        ]
    )
    assert [(each.name, each.state) for each in report.findings] == [
        ("slow", CheckState.OK),
        ("slow too", CheckState.OK),
        ("broken", CheckState.UNKNOWN),
        ("stuck", CheckState.UNKNOWN),
        ("refused", CheckState.BAD),
    ]
    assert started == ["slow", "broken", "stuck"]
    assert report.findings[2].detail == "the check itself failed: RuntimeError: boom"
    assert report.findings[3].detail == "this was not found out within 0.01 s"
    assert (report.findings[4].detail, report.findings[4].fix) == ("cannot be 3", "make it 4")
    assert not report.healthy


async def test_what_is_not_known_is_nothing_to_do():
    async def broken():
        raise RuntimeError("boom")

    report = await run_checks([check("broken", broken)])
    assert report.healthy
    assert report.findings[0].took_ms is not None
