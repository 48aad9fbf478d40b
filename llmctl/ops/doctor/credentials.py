"""The keys of the markets: where from, whether they are taken, and how long the credit lasts."""

import contextlib
from collections.abc import Mapping, Sequence

from llmctl.config.keys import VARIABLES, find_key
from llmctl.core.errors import AuthError, LlmctlError
from llmctl.core.money import MicroUsd, decimal_text
from llmctl.core.paths import Paths
from llmctl.core.rental import Account, Phase, ProviderName, Rental
from llmctl.core.reports_health import CheckState, Finding
from llmctl.providers.base import Provider
from llmctl.providers.registry import ProviderAccess, market_name, open_providers

SECTION = "credentials"
MARKET_S = 30.0
"""The markets' packages take seconds to import."""
LEAST_HOURS = 1.0
FEW_HOURS = 12.0


async def credential_findings(
    name: ProviderName, environ: Mapping[str, str], paths: Paths, rentals: Sequence[Rental]
) -> list[Finding]:
    """Look at the key of one market, and ask the market about it."""
    login = f"llmctl auth login {name.value}"
    rented = [each for each in rentals if each.provider is name and each.phase is not Phase.GONE]
    try:
        key = find_key(name, environ, paths.data)
    except AuthError as failure:
        return [_finding(name, CheckState.BAD, failure.message, failure.hint or login)]
    if key is None:
        if not rented:
            detail = f"no key, in {VARIABLES[name]} or kept: {market_name(name)} is not used"
            return [_finding(name, CheckState.UNKNOWN, detail, login)]
        names = ", ".join(each.name for each in rented)
        return [_finding(name, CheckState.BAD, f"no key, and {names} may be billed there", login)]
    access = ProviderAccess(key=key.secret.reveal(), hint=key.hint)
    provider = open_providers({name: access}, environ)[name]
    try:
        return [await _asked(name, provider, rented)]
    finally:
        with contextlib.suppress(LlmctlError):
            await provider.close()


async def _asked(name: ProviderName, provider: Provider, rented: Sequence[Rental]) -> Finding:
    try:
        account = await provider.account()
    except AuthError as refused:
        return _finding(name, CheckState.BAD, refused.message, f"llmctl auth login {name.value}")
    except LlmctlError as failure:
        detail = f"{provider.key_hint}: {failure.message}"
        return _finding(name, CheckState.UNKNOWN, detail, failure.hint or "")
    return account_finding(name, account, rented, key_hint=provider.key_hint)


def account_finding(
    name: ProviderName, account: Account, rented: Sequence[Rental], *, key_hint: str
) -> Finding:
    """Judge what an account has left; pure."""
    burn = max(account.usd_per_hour or 0, _recorded(rented))
    detail = f"the key is taken ({key_hint})"
    if account.credit is None:
        return _finding(name, CheckState.OK, f"{detail}; the market does not say what is left")
    detail += f"; ${decimal_text(account.credit, places=2)} left"
    if not burn:
        return _finding(name, CheckState.OK, f"{detail}, nothing runs")
    hours = max(account.credit, 0) / burn
    detail += f", {hours:.1f} hours at ${decimal_text(MicroUsd(burn), places=3)}/h"
    fix = _top_up(name)
    if hours < LEAST_HOURS:
        return _finding(name, CheckState.BAD, detail, fix)
    state = CheckState.NOTE if hours < FEW_HOURS else CheckState.OK
    return _finding(name, state, detail, fix if state is CheckState.NOTE else "")


def _recorded(rented: Sequence[Rental]) -> int:
    """Return what our own record says it costs now; prices that are not known are left out."""
    prices = (
        each.stopped_usd_per_hour if each.phase is Phase.STOPPED else each.usd_per_hour
        for each in rented
    )
    return sum(price or 0 for price in prices)


def _top_up(name: ProviderName) -> str:
    pages = {
        ProviderName.VAST: "https://cloud.vast.ai/billing/",
        ProviderName.RUNPOD: "https://console.runpod.io/user/billing",
    }
    return f"add credit at {pages[name]}, or llmctl down --all"


def _finding(name: ProviderName, state: CheckState, detail: str, fix: str = "") -> Finding:
    return Finding(section=SECTION, name=name.value, state=state, detail=detail, fix=fix)
