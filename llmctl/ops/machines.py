"""A look at each machine on record: its market, its watchdog, its engine. Changes nothing."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from typing import TypeVar

import msgspec
from msgspec import Struct

from llmctl.core.errors import AuthError, HostKeyChanged, LlmctlError
from llmctl.core.model import EngineFacts, LoadedModel
from llmctl.core.rental import Instance, InstanceState, Phase, Rental
from llmctl.core.reports_health import AnyLink, BackendLink, CheckState, InstanceLink
from llmctl.core.tunnel import engine_host
from llmctl.ops.health_links import backend_trouble
from llmctl.ops.rent.prepare import logged_in
from llmctl.ops.rent.world import World
from llmctl.ssh.host import Host, HostFacts
from llmctl.ssh.watchdog import Armed

MARKET_S = 10.0
MACHINE_S = 15.0
ENGINE_S = 5.0
SOON_S = 15 * 60.0
"""An end nearer than this is worth a word."""
APART_S = 60.0
"""How far the watchdog's deadline may be off our record."""

T = TypeVar("T")


class Machine(Struct, frozen=True, kw_only=True):
    """What was found out about one rental; what was not asked is None, as is what failed."""

    rental: Rental
    busy: bool = False
    """Another llmctl works on it now."""
    keyless: bool = False
    """It is rented, and there is no key to ask its market."""
    market: Instance | None = None
    market_failure: LlmctlError | None = None
    login_failure: LlmctlError | None = None
    reached: bool = False
    latency_ms: float | None = None
    """Of one command over the login."""
    armed: Armed | None = None
    facts: HostFacts | None = None
    engine: EngineFacts | None = None
    engine_failure: LlmctlError | None = None


class _Version(Struct):
    version: str


class _Loaded(Struct):
    name: str
    size: int = 0
    size_vram: int = 0
    context_length: int | None = None


class _Ps(Struct):
    models: list[_Loaded] | None = None


async def look_at_machines(world: World) -> list[Machine]:
    """Look at everything on record that is not gone, all at the same time."""
    rentals = [rental for rental in world.store.all() if rental.phase is not Phase.GONE]
    return list(await asyncio.gather(*(_look(world, rental) for rental in rentals)))


async def _look(world: World, rental: Rental) -> Machine:
    machine = Machine(rental=rental, busy=world.store.worked_on(rental.name))
    provider = world.providers.get(rental.provider)
    machine = msgspec.structs.replace(machine, keyless=rental.provider.paid and provider is None)
    asked = None
    if provider is not None and rental.instance_id is not None:
        asked = provider.get(rental.instance_id)
    seen, inside = await asyncio.gather(
        _within(asked, MARKET_S, f"{rental.provider.value} did not answer"),
        _within(
            _inside(world, machine) if rental.phase is Phase.READY else None,
            MACHINE_S,
            f"{rental.name} did not answer",
        ),
    )
    machine = inside[0] or msgspec.structs.replace(machine, login_failure=inside[1])
    return msgspec.structs.replace(machine, market=seen[0], market_failure=seen[1])


async def _within(
    work: Awaitable[T] | None, within_s: float, late: str
) -> tuple[T | None, LlmctlError | None]:
    """Await work that may be None; return its result, or its failure."""
    if work is None:
        return None, None
    try:
        async with asyncio.timeout(within_s):
            return await work, None
    except TimeoutError:
        return None, LlmctlError(f"{late} within {within_s:g} s")
    except LlmctlError as failure:
        return None, failure


async def _inside(world: World, machine: Machine) -> Machine:
    async with logged_in(world, machine.rental) as host:
        began = time.monotonic()
        facts = await host.facts()
        machine = msgspec.structs.replace(
            machine,
            reached=True,
            latency_ms=round((time.monotonic() - began) * 1000, 2),
            facts=facts,
        )
        engine, failure = await _within(_engine(host), ENGINE_S, "its engine did not answer")
        machine = msgspec.structs.replace(machine, engine=engine, engine_failure=failure)
        if machine.rental.provider.paid:
            machine = msgspec.structs.replace(machine, armed=await host.armed())
        return machine


async def _engine(host: Host) -> EngineFacts:
    """Ask Ollama on the machine what it is and holds; raises ``LlmctlError``."""
    began = time.monotonic()
    reply = await host.remote.http(host.port, "GET", "/api/version", timeout_s=ENGINE_S)
    latency_ms = round((time.monotonic() - began) * 1000, 2)
    held = await host.remote.http(host.port, "GET", "/api/ps", timeout_s=ENGINE_S)
    try:
        version = msgspec.json.decode(reply.body, type=_Version).version
    except msgspec.MsgspecError as failure:
        raise LlmctlError(f"what answers on its port {host.port} is not Ollama") from failure
    loaded: list[_Loaded] = []
    with contextlib.suppress(msgspec.MsgspecError):
        loaded = msgspec.json.decode(held.body, type=_Ps, strict=False).models or []
    return EngineFacts(
        version=version,
        latency_ms=latency_ms,
        loaded=tuple(
            LoadedModel(
                name=one.name,
                context_tokens=one.context_length,
                gpu_share=one.size_vram / one.size if one.size else None,
            )
            for one in loaded
        ),
    )


# -- what it means --------------------------------------------------------------------------------


def machine_links(machine: Machine, now: float) -> list[AnyLink]:
    """Return the link of a machine, and of the engine on it where that was asked; pure."""
    links: list[AnyLink] = [_instance_link(machine, now)]
    if machine.reached:
        links.append(_engine_link(machine))
    return links


def _instance_link(machine: Machine, now: float) -> InstanceLink:
    rental, armed = machine.rental, machine.armed
    state, trouble, fix = _verdict(machine, now)
    paid = rental.provider.paid and rental.phase is not Phase.STOPPED
    ends = armed.deadline if armed else rental.deadline
    watchdog = CheckState.OK if armed else CheckState.UNKNOWN
    if paid and machine.reached and armed is None:
        watchdog = CheckState.BAD
    return InstanceLink(
        name=rental.name,
        state=state,
        latency_ms=machine.latency_ms,
        trouble=trouble,
        fix=fix,
        provider=rental.provider.value,
        instance_id=rental.instance_id,
        phase=rental.phase.value,
        market=machine.market.state.value if machine.market else "",
        watchdog=watchdog,
        armed_until=armed.deadline if armed else None,
        ends_in_s=max(ends - now, 0.0) if ends and paid else None,
        gpu=rental.offer.gpu_name if rental.offer else _gpu(machine.facts),
    )


_Verdict = tuple[CheckState, str, str]


def _verdict(machine: Machine, now: float) -> _Verdict:
    """Return how it is, why, and what to type; the worst comes first."""
    rental = machine.rental
    up = f"llmctl up {rental.name}"
    if machine.busy:
        return CheckState.NOTE, "another llmctl works on it now", ""
    if rental.phase is Phase.STOPPED:
        start = f"llmctl start {rental.name}"
        return CheckState.NOTE, "it is stopped, and its disk may be billed", start
    if rental.phase is Phase.DESTROYING:
        return CheckState.BAD, "its end was begun and is not proved", f"llmctl down {rental.name}"
    if rental.phase is not Phase.READY:
        return CheckState.BAD, f"it is half done ({rental.phase.value})", up
    return _market_verdict(machine) or _inside_verdict(machine, now) or (CheckState.OK, "", "")


def _market_verdict(machine: Machine) -> _Verdict | None:
    rental, seen, failure = machine.rental, machine.market, machine.market_failure
    market = rental.provider.value
    login = f"llmctl auth login {market}"
    if machine.keyless:
        return CheckState.NOTE, f"there is no key to ask {market} about it", login
    if isinstance(failure, AuthError):
        return CheckState.BAD, failure.message, login
    if failure is not None or not rental.provider.paid:
        return None  # logging in tells more
    if seen is None:
        return CheckState.BAD, f"{market} does not know it any more", f"llmctl up {rental.name}"
    if seen.state is InstanceState.RUNNING:
        return None
    said = f"{market} says it is {seen.state.value}" + (f": {seen.detail}" if seen.detail else "")
    verb = "start" if seen.state is InstanceState.STOPPED else "up"
    return CheckState.BAD, said, f"llmctl {verb} {rental.name}"


def _inside_verdict(machine: Machine, now: float) -> _Verdict | None:
    rental, armed = machine.rental, machine.armed
    up = f"llmctl up {rental.name}"
    rearm = f"{up} --ttl 8h"  # without a time, up leaves alone what is ready
    if machine.login_failure is not None:
        changed = isinstance(machine.login_failure, HostKeyChanged)
        fix = f"llmctl instance trust {rental.name}" if changed else up
        return CheckState.BAD, machine.login_failure.message, fix
    if not rental.provider.paid:
        return None
    if armed is None:
        return CheckState.BAD, "its watchdog does not answer: it may not end by itself", rearm
    if rental.deadline is not None and abs(armed.deadline - rental.deadline) > APART_S:
        apart = round(armed.deadline - rental.deadline)
        return CheckState.NOTE, f"its watchdog ends it {apart:+} s from what is on record", rearm
    if armed.deadline - now < SOON_S:
        return CheckState.NOTE, "it ends itself soon", rearm
    return None


def _engine_link(machine: Machine) -> BackendLink:
    name = (
        f"ollama:http://{engine_host(machine.rental.name)}.localhost:{machine.rental.engine_port}"
    )
    if machine.engine is None:
        return BackendLink(
            name=name,
            state=CheckState.BAD,
            engine="ollama",
            trouble=machine.engine_failure.message if machine.engine_failure else "no answer",
            fix=_engine_fix(machine.rental),
        )
    state, trouble, fix = backend_trouble(machine.engine.loaded)
    return BackendLink(
        name=name,
        state=state,
        trouble=trouble,
        fix=fix,
        latency_ms=machine.engine.latency_ms,
        engine="ollama",
        version=machine.engine.version,
        loaded=list(machine.engine.loaded),
    )


def _engine_fix(rental: Rental) -> str:
    """A machine of one's own is made ready again; of a rented one the engine's log tells more."""
    return f"llmctl {'logs' if rental.provider.paid else 'up'} {rental.name}"


def _gpu(facts: HostFacts | None) -> str:
    return facts.gpus[0].name if facts and facts.gpus else ""
