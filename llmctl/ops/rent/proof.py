"""Ending an instance, and the proof that it is gone: a market's "ok" is not one."""

import logging
from collections.abc import Awaitable, Callable

from llmctl.core.errors import AuthError, LeftoverInstance, LlmctlError, ProviderError
from llmctl.core.rental import ProviderName
from llmctl.ops.rent.world import World
from llmctl.providers.base import Provider

log = logging.getLogger(__name__)

APART_S = 10.0
"""Two lists this far apart that both lack an instance prove that it is gone."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 15.0


async def destroy(world: World, name: ProviderName, instance_id: str, *, command: str) -> None:
    """Destroy an instance and return once it is proved absent.

    Asks again, with growing pauses, for ``wait.gone_s``: markets have said yes and kept it. Raises
    ``LeftoverInstance`` when that was not enough; ``command`` is what ends it later.
    """
    provider = world.providers.get(name)
    if provider is None:
        raise leftover(name, instance_id, "there is no key for it here", None, command)
    began, wait = world.clock.monotonic(), world.config.wait
    pause, reason, accepted = _FIRST_PAUSE_S, "it is still there", False
    while True:
        try:
            refusal = await _try_to_end(provider, instance_id)
        except AuthError as refused:
            raise leftover(name, instance_id, refused.message, provider, command) from refused
        accepted = accepted or refusal is None
        gone, unread = await _look(lambda: is_gone(world, provider, instance_id))
        waited = world.clock.monotonic() - began
        # a market that shows nothing of it and has not said yes may only be late to show it
        if gone and (accepted or waited >= wait.list_lag_s):
            return
        reason = unread or refusal or reason
        if waited + pause > wait.gone_s:
            raise leftover(name, instance_id, reason, provider, command)
        await world.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)


async def is_gone(world: World, provider: Provider, instance_id: str) -> bool:
    """Whether an instance is proved absent: by id and list, or by two lists ``APART_S`` apart.

    Raises ``ProviderError`` when the market cannot be understood, which proves nothing.
    """
    try:
        by_id = await provider.get(instance_id) is None
    except ProviderError as failure:
        log.info("asking for %s failed: %s", instance_id, failure)
    else:
        return by_id and not await _listed(provider, instance_id)
    if await _listed(provider, instance_id):
        return False
    await world.sleep(APART_S)
    return not await _listed(provider, instance_id)


def leftover(
    name: ProviderName, instance_id: str, reason: str, provider: Provider | None, command: str
) -> LeftoverInstance:
    """Return the error that says what may still be billed, and every way to end it."""
    page = f", or end it at {provider.console_url(instance_id)}" if provider else ""
    return LeftoverInstance(
        f"{name.value} instance {instance_id} may still be running and billed: {reason}",
        hint=f"{command}{page}",
    )


async def _listed(provider: Provider, instance_id: str) -> bool:
    return any(each.id == instance_id for each in await provider.instances())


async def _try_to_end(provider: Provider, instance_id: str) -> str | None:
    """Ask for its end; return why that failed, if it did."""
    try:
        await provider.destroy(instance_id)
    except AuthError:
        raise
    except LlmctlError as failure:
        log.info("destroying %s failed: %s", instance_id, failure)
        return failure.message
    return None


async def _look(question: Callable[[], Awaitable[bool]]) -> tuple[bool, str | None]:
    try:
        return await question(), None
    except LlmctlError as failure:
        log.info("cannot tell whether it is gone: %s", failure)
        return False, failure.message
