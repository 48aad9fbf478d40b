"""The composition root of renting: keys, markets, record and SSH become a ``World``."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from llmctl.config.keys import VARIABLES, find_key
from llmctl.config.load import Loaded
from llmctl.config.schema import BackendConfig
from llmctl.core.clock import SystemClock
from llmctl.core.errors import HostKeyChanged, LlmctlError, SshError
from llmctl.core.paths import Paths, find_paths
from llmctl.core.rental import Offer, Phase, ProviderName, Rental, Step, UpPlan
from llmctl.core.reports import Down, UpResult
from llmctl.ops.budget import is_set, read_spend
from llmctl.ops.budget_watch import BudgetWatch, enforce
from llmctl.ops.rent.down import Release, no_such
from llmctl.ops.rent.login import target_of
from llmctl.ops.rent.prepare import logged_in
from llmctl.ops.rent.spec import parse_host
from llmctl.ops.rent.up import up
from llmctl.ops.rent.world import LOCAL, World
from llmctl.ops.tunnel import OLLAMA_PORT
from llmctl.providers.registry import ProviderAccess, api_url, open_providers
from llmctl.ssh.connect import Connection, SshTarget, connect
from llmctl.ssh.host import Host, reach
from llmctl.ssh.keys import Key, load_or_make_key
from llmctl.ssh.local import LocalRemote
from llmctl.ssh.supervisor import Locate, Repair, Tunnel
from llmctl.ssh.tunnel_key import TUNNEL_KEY_NAME, install_tunnel_key, remove_tunnel_key
from llmctl.ssh.watchdog import Guard, start_script
from llmctl.state.store import RentalStore

log = logging.getLogger(__name__)

LOCATE_S = 5.0
"""How long a market may take to say where a machine is, before the last address is tried."""

Report = Callable[[Step], None]


class Renting:
    """What the commands that rent share. Nothing is opened or asked before it is needed."""

    def __init__(
        self, loaded: Loaded, environ: Mapping[str, str], *, key_file: Path | None = None
    ) -> None:
        self.paths: Paths = find_paths(environ)
        self.clock = SystemClock()
        self.store = RentalStore(self.paths.rentals_file, clock=self.clock)
        self.loaded = loaded
        self._environ = environ
        self._key_file = key_file
        self._access: dict[ProviderName, ProviderAccess] | None = None
        self._ssh_key: Key | None = None

    @property
    def access(self) -> dict[ProviderName, ProviderAccess]:
        """The markets that there is a key for."""
        if self._access is None:
            found = {name: self._find(name) for name in VARIABLES}
            self._access = {name: key for name, key in found.items() if key is not None}
        return self._access

    def _find(self, name: ProviderName) -> ProviderAccess | None:
        asked = self.loaded.config.rent.provider
        file = self._key_file if asked == [name.value] else None
        key = find_key(name, self._environ, self.paths.data, key_file=file)
        return None if key is None else ProviderAccess(key=key.secret.reveal(), hint=key.hint)

    @property
    def ssh_key(self) -> Key:
        """The key of this installation, made at first use."""
        if self._ssh_key is None:
            self._ssh_key = load_or_make_key(self.paths.data / "ssh")
        return self._ssh_key

    @contextlib.asynccontextmanager
    async def world(self, report: Report) -> AsyncIterator[World]:
        """Open the markets for a while."""
        providers = open_providers(self.access, self._environ)
        world = World(
            providers=providers,
            store=self.store,
            reach=self.reach,
            public_key=self.ssh_key.public_line,
            config=self.loaded.config,
            clock=self.clock,
            sleep=asyncio.sleep,
            report=report,
            start_script=self._start_script,
            guard_for=self._guard_for,
        )
        try:
            yield world
        finally:
            for provider in providers.values():
                with contextlib.suppress(LlmctlError):
                    await provider.close()
            self.store.close()

    async def reach(self, target: SshTarget) -> Host:
        """Log in to a machine, or take this one."""
        wait = self.loaded.config.wait
        still_s, load_s = wait.pull_still_s, wait.load_s
        if target.generation == LOCAL:
            port = target.engine_port
            return Host(LocalRemote(), port=port, pull_still_s=still_s, load_s=load_s)
        return await reach(target, self.ssh_key, self.store, pull_still_s=still_s, load_s=load_s)

    def serving(self, names: Sequence[str]) -> tuple[Loaded, dict[str, Tunnel]]:
        """Return the configuration with these instances as engines, and the tunnels to them.

        Without names the ready ones; the configuration as it was where there is none. Their model
        and context stand in for what is left open. Raises ``NotFound``, and ``LlmctlError`` for
        one that is not ready.
        """
        rentals = [self._ready(name) for name in names] if names else self._all_ready()
        if not rentals:
            return self.loaded, {}
        from llmctl.backend.tunnelled import tunnel_url  # aiohttp: 0.1 s for those who serve

        tunnels: dict[str, Tunnel] = {}
        backends: list[BackendConfig] = []
        for rental in rentals:
            url = f"ollama:http://127.0.0.1:{rental.engine_port}"
            if rental.provider is not ProviderName.LOCAL:
                tunnel = self.tunnel(rental)
                url = f"ollama:{tunnel_url(tunnel)}"
                tunnels[url] = tunnel
            backends.append(BackendConfig(url=url))
        config, first = self.loaded.config, rentals[0]
        model = msgspec.structs.replace(
            config.model,
            name=config.model.name or first.model,
            num_ctx=config.model.num_ctx or first.num_ctx,
        )
        config = msgspec.structs.replace(config, backend=backends, model=model)
        return msgspec.structs.replace(self.loaded, config=config), tunnels

    def _all_ready(self) -> list[Rental]:
        return [each for each in self.store.live() if each.phase is Phase.READY]

    def _ready(self, name: str) -> Rental:
        rental = self.store.by_name(name)
        if rental is None:
            raise no_such(name, self.store.live())
        if rental.phase is not Phase.READY:
            again = "start" if rental.phase is Phase.STOPPED else "up"
            raise LlmctlError(
                f"{name} is {rental.phase.value}, not ready", hint=f"llmctl {again} {name}"
            )
        return rental

    def tunnel(self, rental: Rental) -> Tunnel:
        """Return the tunnel to a rental's engine, not started; it uses a key of its own."""
        return self._tunnel(
            rental.name,
            lambda: self._locate(rental),
            lambda: self.allow_tunnel(rental),
            rental.engine_port,
        )

    def _tunnel(self, name: str, locate: Locate, repair: Repair, port: int) -> Tunnel:
        key = load_or_make_key(self.paths.data / "ssh", TUNNEL_KEY_NAME)
        repaired = False

        async def repair_once() -> None:
            nonlocal repaired
            await repair()
            repaired = True

        def login(target: SshTarget) -> Connection:
            try:
                return connect(target, key, self.store)
            except HostKeyChanged:
                raise
            except SshError as refused:
                if not (refused.terminal and repaired):
                    raise
                # its sshd reads other files than ~/.ssh/authorized_keys
                log.warning("%s takes only the key of up; the tunnel uses that", name)
                return connect(target, self.ssh_key, self.store)

        return Tunnel(name, locate, login, port=port, repair=repair_once)

    def tunnel_to(self, text: str) -> Tunnel:
        """Return the tunnel to a machine that is on no record: ``user@address:port``."""
        address = parse_host(text)
        target = SshTarget(
            instance=f"host:{address}", generation="host", addresses=(address,), name=address.host
        )

        async def locate() -> SshTarget:
            return target

        return self._tunnel(
            address.host, locate, lambda: self._let_in(target, OLLAMA_PORT), OLLAMA_PORT
        )

    async def allow_tunnel(self, rental: Rental) -> None:
        """Let the tunnel's key in on a machine, for the engine's port and nothing else."""
        await self._let_in(await self._locate(rental), rental.engine_port)

    async def _let_in(self, target: SshTarget, port: int) -> None:
        key = load_or_make_key(self.paths.data / "ssh", TUNNEL_KEY_NAME)
        try:
            host = await self.reach(target)
        except SshError as refused:
            if not refused.terminal or refused.hint:
                raise
            hint = f"add this line to ~/.ssh/authorized_keys there: {self.ssh_key.public_line}"
            raise SshError(refused.message, hint=hint, terminal=True) from refused
        try:
            await install_tunnel_key(host.remote, key.public_line, port)
        finally:
            await host.close()

    async def _locate(self, rental: Rental) -> SshTarget:
        """Return where a machine is now: as its market says, else as it was last seen."""
        current = self.store.get(rental.uuid)
        access = self.access.get(current.provider)
        if access is None or current.instance_id is None:
            return target_of(current)
        provider = open_providers({current.provider: access}, self._environ)[current.provider]
        try:
            async with asyncio.timeout(LOCATE_S):
                seen = await provider.get(current.instance_id)
        except (LlmctlError, TimeoutError):
            return target_of(current)
        finally:
            with contextlib.suppress(LlmctlError):
                await provider.close()
        if seen is None:
            raise SshError(f"{rental.name} is gone", hint=f"llmctl up {rental.name}", terminal=True)
        if seen.addresses and seen.addresses != current.addresses:
            current = self.store.advance(
                current.uuid,
                current.phase,
                addresses=seen.addresses,
                generation=seen.generation,
            )
        return target_of(current)

    async def up(self, world: World, plan: UpPlan) -> UpResult:
        """Carry a plan out, and let the tunnel's key in while the other one is in use anyway."""
        result = await up(world, plan, self.release_for(world))
        fresh = result.tokens_per_s is not None
        if fresh and result.rental.provider is not ProviderName.LOCAL:
            try:
                await self.allow_tunnel(result.rental)
            except LlmctlError as failure:
                log.warning("the tunnel's key is not on the machine yet: %s", failure)
        return result

    def budget_watch(self) -> BudgetWatch | None:
        """Return what keeps the budget while a process runs; None where there is no budget."""
        budget = self.loaded.config.budget
        if not is_set(budget):
            return None
        # with a record of its own: it looks from another thread
        other = Renting(self.loaded, self._environ, key_file=self._key_file)

        async def act(say: Callable[[str], None]) -> list[Down]:
            async with other.world(lambda step: log.info("%s", step.text)) as world:
                return await enforce(world, other.release_for(world), say)

        return BudgetWatch(look=lambda: read_spend(other.store, budget, other.clock.now()), act=act)

    def release_for(self, world: World) -> Release:
        """Return what leaves a machine that is not rented as it was found."""

        async def release(rental: Rental) -> None:
            async with logged_in(world, rental) as host:
                await host.stop_engine()
                await host.disarm()
                if rental.provider is not ProviderName.LOCAL:
                    key = load_or_make_key(self.paths.data / "ssh", TUNNEL_KEY_NAME)
                    await remove_tunnel_key(host.remote, key.public_line)

        return release

    def _start_script(self, rental: Rental, offer: Offer, deadline: float) -> str:
        return start_script(self._guard(rental, offer.provider, deadline, None))

    def _guard_for(self, rental: Rental, instance_key: str | None) -> Guard:
        deadline = rental.deadline or self.clock.now() + rental.spec.ttl_s
        return self._guard(rental, rental.provider, deadline, instance_key)

    def _guard(
        self, rental: Rental, provider: ProviderName, deadline: float, key: str | None
    ) -> Guard:
        return Guard(
            provider=provider,
            instance_id=rental.instance_id or "",
            api_url=api_url(provider, self._environ),
            instance_key=key,
            deadline=deadline,
            idle_s=rental.spec.idle_s,
            uuid=rental.uuid,
        )
