"""``cache test``: everything that is tried, one after the other."""

from llmctl.config.secrets import Secret
from llmctl.core.reports_cache import CacheCheck, CacheTest
from llmctl.ops.cache.access import Access
from llmctl.ops.cache.check import STORE, check_store
from llmctl.ops.cache.check_proxy import check_proxy
from llmctl.ops.cache.check_room import check_room
from llmctl.ops.cache.stats import semantic_report
from llmctl.ops.running import Address
from llmctl.semantic.report import SemanticReport


async def run(
    access: Access, proxy: tuple[Address, Secret | None] | None
) -> tuple[CacheTest, SemanticReport | None]:
    """Try the store, and ``proxy`` where one is given; the report is None without semantic tier."""
    checks = await check_store(access)
    if checks[0].name != STORE:
        checks += await check_room(access)
    if proxy is not None:
        checks += await check_proxy(access, *proxy)
    report = await semantic_report(access)
    if report is not None:
        checks.append(_semantic(access, report))
    status = access.entries.status()
    return CacheTest(store=status.kind, location=status.location, checks=checks), report


def _semantic(access: Access, report: SemanticReport) -> CacheCheck:
    """Judge the tier: a bound that is shown to be broken is wrong only where answers are served."""
    broken = report.bound_met is False
    mode = access.loaded.config.cache.semantic.mode
    serves = mode == "on" or (mode == "off" and report.served > 0)
    ok = None if report.bound_met is None or (broken and not serves) else not broken
    return CacheCheck(name="semantic", ok=ok, result=report.recommendation)
