"""vast.ai as a ``Provider``: offers, orders, and the life of contracts."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from llmctl.core.billing import Bill, Charge
from llmctl.core.clock import Clock, SystemClock
from llmctl.core.errors import (
    InsufficientCredit,
    LlmctlError,
    NoCapacity,
    NotFound,
    OutcomeUnknown,
    ProviderError,
)
from llmctl.core.money import micro_usd
from llmctl.core.rental import (
    Account,
    Created,
    Instance,
    Offer,
    OfferWish,
    Order,
    ProviderName,
)
from llmctl.providers.vast import charges
from llmctl.providers.vast.api import BASE_URL, NoAnswer, Refused, VastApi, words
from llmctl.providers.vast.asks import AskRow, cards, fits, question, read_rows, to_offer
from llmctl.providers.vast.contract import ContractRow, is_dead, read_row, to_instance

log = logging.getLogger(__name__)

CONSOLE_URL = "https://cloud.vast.ai/instances/"
SEARCH_ROWS = 64
"""The most that one search returns, whatever its ``limit``."""
SEARCH_PAGES = 3
"""Ten searches a minute are allowed; this many show the cheapest 190 offers."""
LIST_PAGES = 400
START_SCRIPT_CHARACTERS = 4096
INTERVAL_S = 1.1
"""Between two calls of one kind: vast.ai wants a second."""
LOG_POLLS = 20
LOG_POLL_S = 0.5
INSIST_RETRIES = 2
INSIST_S = 3.3
"""An instance may be destroyed every three seconds."""
NO_OFFER = ("no_such_ask",)
NO_MONEY = ("insufficient_credit", "spend_rate_limit")
NO_INSTANCE = ("no_such_instance",)


class VastProvider:
    """One account at vast.ai; implements ``Provider``, ``SupportsStop``, ``SupportsBilling``."""

    name = ProviderName.VAST

    def __init__(
        self,
        key: str,
        *,
        key_hint: str = "",
        base_url: str = BASE_URL,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        timeout_s: float = 20.0,
    ) -> None:
        self.key_hint = key_hint
        self._api = VastApi(key, base_url=base_url, key_hint=key_hint, timeout_s=timeout_s)
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._registered: set[str] = set()
        """Public keys known to be on the account."""
        self._dead_since: dict[str, float] = {}
        """When an instance was first seen to be dead; forgotten when it is seen alive."""

    async def account(self) -> Account:
        user = await self._api.user()
        credit = user.get("credit") if isinstance(user, dict) else None
        if not isinstance(credit, int | float) or not math.isfinite(credit):
            raise ProviderError("vast.ai shows an account without its credit")
        return Account(credit=micro_usd(credit))

    async def offers(self, wish: OfferWish) -> list[Offer]:
        if not cards(wish):
            return []
        found: dict[int, AskRow] = {}
        query = question(wish)
        for _ in range(SEARCH_PAGES):
            rows = await self._search(query, wish)
            new = [row for row in rows if row.id not in found]
            found.update((row.id, row) for row in new)
            if len(rows) < SEARCH_ROWS or not new:
                break
            query = query | {"dph_total": {"gte": max(row.dph_total for row in rows)}}
        return [to_offer(row, wish) for row in found.values() if fits(row, wish)]

    async def _search(self, query: dict[str, Any], wish: OfferWish) -> list[AskRow]:
        kind = "bid" if wish.spot else "on-demand"
        answer = await self._api.search(query, kind=kind, disk_gb=wish.disk_gb)
        if not isinstance(answer, list):
            raise ProviderError(f"vast.ai's offers are {_kind(answer)}, not a list")
        rows = read_rows(answer)
        if answer and not rows:
            raise ProviderError(f"none of vast.ai's {len(answer)} offers can be read")
        if len(rows) < len(answer):
            log.warning("%d of vast.ai's offers cannot be read", len(answer) - len(rows))
        return rows

    async def create(self, order: Order) -> Created:
        if len(order.start_script) > START_SCRIPT_CHARACTERS:
            raise ProviderError(
                f"the start script has {len(order.start_script)} characters,"
                f" vast.ai takes {START_SCRIPT_CHARACTERS}"
            )
        await self._register(order.public_key)
        try:
            answer = await self._api.create(order.offer.id, **_fields(order))
        except Refused as refused:
            if not refused.was_decided:
                raise _unknown(order, refused) from refused
            raise await self._refused(order, refused.body, refused) from refused
        except NoAnswer as lost:
            if not lost.sent:
                raise
            raise _unknown(order, lost) from lost
        created = await self._created(order, answer)
        await self._attach(created.id, order.public_key)
        return created

    async def _created(self, order: Order, answer: object) -> Created:
        """Read what create answered; it may say no with a status that says yes."""
        if not isinstance(answer, dict):
            raise _unknown(order, f"the answer is {_kind(answer)}")
        if answer.get("success") is False:
            said = words(answer) or "no reason given"
            refusal = ProviderError(f"cannot rent offer {order.offer.id}: {said}")
            raise await self._refused(order, answer, refusal)
        contract = _contract(answer)
        if contract is None:
            raise _unknown(order, "the answer names no contract")
        key = answer.get("instance_api_key")
        return Created(id=contract, instance_key=key if isinstance(key, str) and key else None)

    async def _refused(
        self, order: Order, body: dict[str, Any], refusal: ProviderError
    ) -> LlmctlError:
        """Return what a refusal means, after ending what was made all the same.

        A bid below the minimum makes a contract that is stopped, whose disk is billed.
        """
        contract = _contract(body)
        if contract is not None:
            try:
                await self._insist(self.destroy, contract)
            except LlmctlError as failed:
                return _unknown(order, f"instance {contract} was made all the same; {failed}")
            return NoCapacity(f"{refusal.message}; instance {contract} was ended")
        said = refusal.text if isinstance(refusal, Refused) else refusal.message
        if any(word in said for word in NO_OFFER):
            return NoCapacity(f"offer {order.offer.id} of vast.ai is gone")
        if any(word in said for word in NO_MONEY):
            hint = "add credit at https://cloud.vast.ai/billing/"
            return InsufficientCredit(refusal.message, hint=hint)
        return refusal

    async def _insist(self, call: Callable[[str], Awaitable[None]], instance_id: str) -> None:
        """Make a call three times before its failure counts."""
        for _ in range(INSIST_RETRIES):
            try:
                await call(instance_id)
            except ProviderError as failed:
                log.info("once more: %s", failed.message)
                await self._sleep(INSIST_S)
            else:
                return
        await call(instance_id)

    async def _register(self, public_key: str) -> None:
        """Put the key on the account: the machine gets all that are there when it is created."""
        wanted = _identity(public_key)
        if wanted in self._registered:
            return
        if wanted not in await self._account_keys():
            try:
                await self._api.add_ssh_key(public_key)
            except Refused as refused:
                # a team has no keys; the one attached to the instance has to do
                if not refused.says("team_ssh_keys_not_supported"):
                    raise
        self._registered.add(wanted)

    async def _account_keys(self) -> set[str]:
        try:
            rows = await self._api.ssh_keys()
        except Refused as refused:
            if refused.status == 404 and refused.body:  # how it says that there are none
                return set()
            raise
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ProviderError(f"vast.ai's SSH keys are {_kind(rows)}, not a list")
        texts = (row.get("public_key") or row.get("key") or "" for row in rows)
        return {_identity(text) for text in texts if isinstance(text, str)}

    async def _attach(self, instance_id: str, public_key: str) -> None:
        """The second line, should the account's keys not have reached the machine."""
        try:
            await self._api.attach_ssh_key(instance_id, public_key)
        except LlmctlError as failed:
            log.info("the key of the account has to do: %s", failed.message)

    async def get(self, instance_id: str) -> Instance | None:
        try:
            answer = await self._api.instance(instance_id)
        except Refused as refused:
            if refused.says(*NO_INSTANCE):
                return None
            raise
        if not isinstance(answer, dict) or "instances" not in answer:
            raise ProviderError(
                f"vast.ai's answer about instance {instance_id} is {_kind(answer)}, not a row",
                retryable=True,
            )
        if answer["instances"] is None:
            return None
        row = read_row(answer["instances"])
        if str(row.id) != instance_id:
            raise ProviderError(f"vast.ai showed instance {row.id}, asked for {instance_id}")
        return self._instance(row)

    async def instances(self) -> list[Instance]:
        found: dict[str, Instance] = {}
        tokens: set[str] = set()
        token: str | None = None
        for _ in range(LIST_PAGES):
            rows, token = read_page(await self._api.instances_page(token))
            found.update((str(row.id), self._instance(row)) for row in rows)
            if token is None:
                return list(found.values())
            if token in tokens:
                raise ProviderError("vast.ai's list of instances goes round in circles")
            tokens.add(token)
            await self._sleep(INTERVAL_S)
        raise ProviderError(f"vast.ai's list of instances has more than {LIST_PAGES} pages")

    def _instance(self, row: ContractRow) -> Instance:
        instance_id, now = str(row.id), self._clock.now()
        if not is_dead(row):
            self._dead_since.pop(instance_id, None)
            return to_instance(row)
        return to_instance(row, dead_s=now - self._dead_since.setdefault(instance_id, now))

    async def destroy(self, instance_id: str) -> None:
        try:
            answer = await self._api.destroy(instance_id)
        except Refused as refused:
            if refused.says(*NO_INSTANCE):
                return
            raise
        said = _denied(answer)
        if said is not None and not any(word in said for word in NO_INSTANCE):
            raise ProviderError(f"cannot destroy instance {instance_id}: {said}", retryable=True)

    async def stop(self, instance_id: str) -> None:
        said = await self._switch(instance_id, self._api.stop)
        if said is not None:
            raise ProviderError(f"cannot stop instance {instance_id}: {said}", retryable=True)

    async def start(self, instance_id: str) -> None:
        said = await self._switch(instance_id, self._api.start)
        if said is None:
            return
        await self._unqueue(instance_id)
        raise NoCapacity(
            f"instance {instance_id} cannot start: {said}",
            hint="llmctl down it and llmctl up again: another machine, another pull",
        )

    async def _switch(self, instance_id: str, call: Callable[[str], Awaitable[Any]]) -> str | None:
        """Return why it was refused, None where it was done."""
        try:
            return _denied(await call(instance_id))
        except Refused as refused:
            if refused.says(*NO_INSTANCE):
                raise NotFound(f"vast.ai has no instance {instance_id}") from refused
            raise

    async def _unqueue(self, instance_id: str) -> None:
        """Take back a start that waits for its GPU: it would begin, and bill, at any time."""
        await self._sleep(INTERVAL_S)
        try:
            await self._insist(self.stop, instance_id)
        except ProviderError as failed:
            raise ProviderError(
                f"instance {instance_id} waits for its GPU, and may start and bill at any time:"
                f" {failed.message}",
                hint=f"stop it at {self.console_url(instance_id)}",
            ) from failed

    async def logs(self, instance_id: str, *, lines: int) -> list[str]:
        try:
            answer = await self._api.request_logs(instance_id, lines=lines)
        except Refused as refused:
            if refused.says(*NO_INSTANCE):
                raise NotFound(f"vast.ai has no instance {instance_id}") from refused
            raise
        url = answer.get("result_url") if isinstance(answer, dict) else None
        if not isinstance(url, str):
            raise ProviderError(f"vast.ai gives no logs of instance {instance_id}")
        for _ in range(LOG_POLLS):
            text = await self._api.fetch(url)
            if text is not None:
                return text.splitlines()[-lines:]
            await self._sleep(LOG_POLL_S)
        raise ProviderError(
            f"the logs of instance {instance_id} were not uploaded in"
            f" {LOG_POLLS * LOG_POLL_S:.0f} s",
            retryable=True,
        )

    async def bill(self, since: float, until: float) -> Bill:
        found: list[Charge] = []
        tokens: set[str | None] = set()
        filters, token = charges.days(since, until), None
        while token not in tokens and len(tokens) < LIST_PAGES:
            tokens.add(token)
            page, token = charges.read_charges(await self._api.charges_page(filters, token))
            found += page
            if token is None:
                return Bill(provider=self.name, charges=found)
            await self._sleep(INTERVAL_S)
        raise ProviderError(f"vast.ai's charges do not end after {len(tokens)} pages")

    def console_url(self, instance_id: str) -> str:  # noqa: ARG002 - it has one page for all
        return CONSOLE_URL

    async def close(self) -> None:
        """Every call has a connection of its own."""


def _fields(order: Order) -> dict[str, Any]:
    """Return the order in the words of the package."""
    bid = order.bid_usd_per_hour or order.offer.usd_per_hour
    return {
        "image": order.image,
        "disk": order.disk_gb,
        "label": order.label,
        # what the script reads; logins do not see it
        "env": {"LLMCTL_DEADLINE": str(int(order.deadline)), **order.environment},
        "onstart_cmd": order.start_script,
        "ssh": True,
        "direct": True,
        # not startable now is a refusal, instead of a contract that waits and bills its disk
        "cancel_unavail": True,
        "price": bid / 1_000_000 if order.offer.spot else None,
    }


def read_page(answer: object) -> tuple[list[ContractRow], str | None]:
    """Read one page of the list: its rows, and where the next one begins.

    Raises ``ProviderError`` for all that is no page, and for an empty one that speaks of instances:
    what is not seen would be taken for gone.
    """
    found = answer.get("instances") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(found, list):
        raise ProviderError("vast.ai's list of instances holds no rows", retryable=True)
    if answer.get("success") is False:
        raise ProviderError(f"vast.ai shows no list of instances: {words(answer)}", retryable=True)
    rows = [read_row(row) for row in found]
    counts = ("instances_found", "total_instances", "next_token")
    if not rows and any(answer.get(name) for name in counts):
        raise ProviderError("a page of vast.ai's list of instances lacks its rows", retryable=True)
    token = answer.get("next_token")
    if token is not None and not isinstance(token, str):
        raise ProviderError(f"vast.ai's list goes on at {token!r}, which cannot be followed")
    return rows, token or None


def _denied(answer: object) -> str | None:
    """Return why an answer with status 200 says no, None where it says yes."""
    if not isinstance(answer, dict):
        raise ProviderError(f"vast.ai's answer is {_kind(answer)}", retryable=True)
    return None if answer.get("success") is True else words(answer) or "no reason given"


def _contract(body: dict[str, Any]) -> str | None:
    contract = body.get("new_contract")
    return str(contract) if isinstance(contract, int) and not isinstance(contract, bool) else None


def _unknown(order: Order, why: object) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"whether vast.ai rented offer {order.offer.id} is not known ({why});"
        f" it would be labelled {order.label}",
        hint="llmctl instance list",
    )


def _identity(public_key: str) -> str:
    """Return type and base64 of a key: the comment is anybody's."""
    return " ".join(public_key.split()[:2])


def _kind(answer: object) -> str:
    return {"NoneType": "null", "dict": "an object", "str": "a text"}.get(
        type(answer).__name__, type(answer).__name__
    )
