"""Everything ``llmctl doctor`` looks at, put together from this user's configuration."""

import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from msgspec import Struct

from llmctl.config import addresses
from llmctl.config.keys import VARIABLES
from llmctl.config.load import Loaded
from llmctl.config.schema import CacheConfig
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.paths import Paths
from llmctl.core.rental import Phase, ProviderName, Rental
from llmctl.core.reports_health import CheckState, DoctorReport, Finding, InstanceLink
from llmctl.ops.doctor import configuration, credentials, engines, gpu, machine, network, redis
from llmctl.ops.doctor.run import Check, run_checks
from llmctl.ops.machines import Machine, machine_links
from llmctl.ops.served import Running, as_served, ask_running
from llmctl.ssh.dial import in_thread
from llmctl.state.store import RentalStore

MACHINES_S = 40.0
ENGINES_S = 15.0

LookAtMachines = Callable[[Loaded], Awaitable[list[Machine]]]


class Patient(Struct, frozen=True, kw_only=True):
    """Whom the doctor looks at."""

    environ: Mapping[str, str]
    paths: Paths
    clock: Clock
    stream: TextIO
    """Where answers go."""
    machines: LookAtMachines
    """Called where something is on record."""
    config: Path | None = None
    """File named on the command line."""


async def examine(patient: Patient) -> DoctorReport:
    """Look at everything at the same time; never raises for what is found."""
    loaded, said = configuration.read(patient.environ, patient.config)
    rentals, unreadable = _rentals(patient)
    checks = [*_here(patient, loaded), *_configuration(patient, said)]
    checks.append(_plain("instance", "record", lambda: unreadable))
    checks += [_credentials(patient, market, rentals) for market in VARIABLES]
    checks.append(_network(patient, loaded))
    if loaded is not None:
        checks += _parts(patient, loaded, rentals)
    return await run_checks(checks)


def _here(patient: Patient, loaded: Loaded | None) -> list[Check]:
    cache = loaded.config.cache if loaded else CacheConfig()
    size = cache.max_bytes if cache.enabled and cache.store in ("auto", "sqlite") else 0
    environ, paths = patient.environ, patient.paths
    section = machine.SECTION

    async def ssh() -> list[Finding]:
        return [await machine.ssh_finding(environ)]

    async def claude() -> list[Finding]:
        return [await machine.claude_finding(environ)]

    return [
        _plain(section, "python", lambda: [machine.python_finding()]),
        _plain(section, "disk", lambda: machine.disk_findings(paths, cache_bytes=size)),
        _plain(section, "directories", lambda: machine.directory_findings(paths)),
        _plain(section, "terminal", lambda: [machine.terminal_finding(patient.stream, environ)]),
        Check(section=section, name="ssh", look=ssh),
        Check(section=section, name="claude", look=claude),
    ]


def _configuration(patient: Patient, said: list[Finding]) -> list[Check]:
    section, environ = configuration.SECTION, patient.environ
    return [
        _plain(section, "file", lambda: said),
        _plain(section, "token", lambda: configuration.file_findings(environ, patient.paths)),
        _plain(section, "client", lambda: configuration.client_findings(environ)),
    ]


def _credentials(patient: Patient, market: ProviderName, rentals: Sequence[Rental]) -> Check:
    async def look() -> list[Finding]:
        return await credentials.credential_findings(
            market, patient.environ, patient.paths, rentals
        )

    return Check(
        section=credentials.SECTION,
        name=market.value,
        look=look,
        within_s=credentials.MARKET_S,
    )


def _network(patient: Patient, loaded: Loaded | None) -> Check:
    async def look() -> list[Finding]:
        wanted = network.places(loaded, patient.environ, patient.paths)
        return await network.network_findings(wanted, patient.clock)

    return Check(section="network", name="paths", look=look)


def _parts(patient: Patient, loaded: Loaded, rentals: Sequence[Rental]) -> list[Check]:
    ready = any(each.phase is Phase.READY for each in rentals)
    standard = loaded.origins["backend"].kind in ("default", "customary")

    async def answers() -> list[Finding]:
        return await redis.redis_findings(loaded)

    async def of_engines() -> list[Finding]:
        running = await in_thread(lambda: ask_running(loaded, patient.environ), undo=lambda _: None)
        if running is None and ready and standard:
            return []  # serve would use the machines instead
        return await _engine_findings(patient, loaded, running)

    async def of_machines() -> list[Finding]:
        return _machine_findings(patient, await patient.machines(loaded))

    checks = [
        Check(section=redis.SECTION, name="server", look=answers),
        Check(section=engines.SECTION, name="reached", look=of_engines, within_s=ENGINES_S),
    ]
    if rentals:
        checks.append(
            Check(section="instance", name="machines", look=of_machines, within_s=MACHINES_S)
        )
    return checks


async def _engine_findings(
    patient: Patient, loaded: Loaded, running: Running | None
) -> list[Finding]:
    """Look at the engines, and at the cards here if one of them is on this machine.

    They are those of the proxy that runs, which may have got others by a flag, else the configured.
    """
    told = engines.served_findings(running.health) if running else []
    used = as_served(loaded, running) if running else loaded
    seen = await engines.look_at_engines(used, patient.environ)
    config = used.config.model
    findings = [*told, *engines.embedded_findings(used), *engines.engine_findings(seen, config)]
    if not any(_is_here(each.name) for each in seen):
        return findings
    model = engines.answering_model(seen, config)
    window = engines.context_tokens(model, config) if model else 0
    cards = await gpu.local_cards(patient.environ)
    return [*findings, *gpu.local_findings(cards, model.name if model else None, window)]


def _machine_findings(patient: Patient, machines: Sequence[Machine]) -> list[Finding]:
    findings = []
    for each in machines:
        findings += _of_links(each, patient.clock.now())
        if each.engine is not None:
            where = each.rental.name
            fix = f"llmctl up {where}"
            findings.append(engines.version_finding(each.engine.version, where=where, fix=fix))
        if each.rental.num_ctx is not None and each.rental.model is not None:
            findings.append(engines.context_finding(each.rental.model, each.rental.num_ctx))
        if each.facts is not None:
            cards = [
                gpu.Card(name=card.name, memory_mib=card.memory_mib) for card in each.facts.gpus
            ]
            findings.append(
                gpu.machine_finding(each.rental.name, cards, each.rental.model, each.rental.num_ctx)
            )
    return findings


def _of_links(each: Machine, now: float) -> list[Finding]:
    return [
        Finding(
            section="instance",
            name=link.name if isinstance(link, InstanceLink) else each.rental.name,
            state=link.state,
            detail=link.trouble or _well(link),
            fix=link.fix,
        )
        for link in machine_links(each, now)
    ]


def _well(link: object) -> str:
    if isinstance(link, InstanceLink):
        armed = ", its watchdog is armed" if link.armed_until else ""
        return f"{link.market or link.phase}{armed}"
    return "its engine answers"


def _rentals(patient: Patient) -> tuple[list[Rental], list[Finding]]:
    """Return what is on record and not gone, and why it cannot be read where it cannot."""
    path = patient.paths.rentals_file
    if not path.exists():
        return [], []
    store = RentalStore(path, clock=patient.clock)
    try:
        return [each for each in store.all() if each.phase is not Phase.GONE], []
    except LlmctlError as failure:
        bad = Finding(
            section="instance",
            name="record",
            state=CheckState.BAD,
            detail=failure.message,
            fix=f"ls -l {shlex.quote(str(path))}",
        )
        return [], [bad]
    finally:
        store.close()


def _plain(section: str, name: str, look: Callable[[], list[Finding]]) -> Check:
    """Return a check that blocks: a disk that hangs must not stop the others."""

    async def in_the_background() -> list[Finding]:
        return await in_thread(look, undo=lambda _: None)

    return Check(section=section, name=name, look=in_the_background)


def _is_here(name: str) -> bool:
    host = addresses.host_of(name.partition(":")[2])
    return addresses.is_local(host)
