"""RunPod as a ``Provider``: what its pods, prices and refusals mean.

Spot pods are not offered: v2 has none, and GraphQL's were listed but never to be had. A pod's
container disk is erased when it stops; models outlive that on a network volume only.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from llmctl.core.billing import Bill
from llmctl.core.errors import InsufficientCredit, NoCapacity, NotFound, ProviderError
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import (
    Account,
    Created,
    Instance,
    InstanceState,
    Offer,
    OfferWish,
    Order,
    ProviderName,
)
from llmctl.providers.runpod.api import PATIENCE, Api, Patience
from llmctl.providers.runpod.charges import read_records, window
from llmctl.providers.runpod.instance import GONE, instance
from llmctl.providers.runpod.market import COMMUNITY, SECURE, min_cuda_text, offers
from llmctl.providers.runpod.order import pod_body

_UP = (InstanceState.PENDING, InstanceState.LOADING, InstanceState.RUNNING)


class RunPodProvider:
    """One account at RunPod. ``key`` is held in memory and goes nowhere but to RunPod.

    Also ``SupportsBilling`` and ``SupportsStop``: a stopped pod keeps its name and host, and
    nothing on its own disk. It gets another port and another host key with each start.
    """

    name = ProviderName.RUNPOD

    def __init__(
        self,
        key: str,
        *,
        key_hint: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        patience: Patience = PATIENCE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.key_hint = key_hint
        self._api = Api(key, key_hint=key_hint, sleep=sleep, patience=patience, transport=transport)

    async def account(self) -> Account:
        """Check the key. The balance is GraphQL's, and unknown where that fails or is gone."""
        try:
            answer = await self._api.balance()
        except ProviderError:
            await self._api.pods()
            return Account()
        return Account(
            credit=_dollars(answer.get("clientBalance")),
            usd_per_hour=_dollars(answer.get("currentSpendPerHr")),
        )

    async def offers(self, wish: OfferWish) -> list[Offer]:
        """Return what is in stock. Network volumes exist in the secure cloud only."""
        if wish.spot:
            raise NoCapacity(
                "RunPod's API rents no spot machines", hint="drop --spot, or use --provider vast"
            )
        place = await self._place(wish.volume)
        clouds = (SECURE,) if wish.secure or place else (SECURE, COMMUNITY)
        found = await asyncio.gather(*(self._offers(wish, cloud, place) for cloud in clouds))
        return [offer for each in found for offer in each]

    async def _place(self, volume_id: str | None) -> str | None:
        if volume_id is None:
            return None
        volume = await self._api.volume(volume_id)
        if volume is None:
            raise NotFound(
                f"RunPod has no network volume {volume_id!r}",
                hint="its id is shown at https://console.runpod.io/user/storage",
            )
        return volume.data_center

    async def _offers(self, wish: OfferWish, cloud: str, place: str | None) -> list[Offer]:
        rows = await self._api.catalogue(
            cloud=cloud, count=wish.gpu_count, min_cuda=min_cuda_text(wish.min_cuda)
        )
        return offers(rows, wish, cloud=cloud, place=place)

    async def create(self, order: Order) -> Created:
        """Rent. The pod gets a key of its own from RunPod, inside; it is not told here."""
        return Created(id=await self._api.create(pod_body(order)))

    async def get(self, instance_id: str) -> Instance | None:
        """Return one pod."""
        pod = await self._api.pod(instance_id)
        return None if pod is None or pod.status == GONE else instance(pod)

    async def instances(self) -> list[Instance]:
        """Return every pod on the account."""
        return [instance(pod) for pod in await self._api.pods() if pod.status != GONE]

    async def destroy(self, instance_id: str) -> None:
        """Terminate. A network volume stays."""
        await self._api.delete(instance_id)

    async def stop(self, instance_id: str) -> None:
        """Stop; the container disk is erased. One that is stopped already is success."""
        answer = await self._api.act(instance_id, "stop")
        await self._settled(answer, instance_id, "stop", (InstanceState.STOPPED,))

    async def start(self, instance_id: str) -> None:
        """Start on the same host, or raise ``NoCapacity``: v2 queues nothing."""
        answer = await self._api.act(instance_id, "start")
        if answer.status_code == 400:
            refusal = self._api.refusal(f"start of pod {instance_id}", answer)
            if isinstance(refusal, InsufficientCredit):
                raise refusal
            raise NoCapacity(
                refusal.message, hint="its GPU may be free later; otherwise llmctl down, and up"
            )
        await self._settled(answer, instance_id, "start", _UP)

    async def _settled(
        self, answer: httpx.Response, pod_id: str, action: str, wanted: tuple[InstanceState, ...]
    ) -> None:
        """Accept success, and a conflict with a pod that is already as it should be."""
        if answer.is_success:
            return
        if answer.status_code in (404, 409):
            found = await self.get(pod_id)
            if found is None:
                raise NotFound(f"RunPod has no pod {pod_id}")
            if answer.status_code == 409 and found.state in wanted:
                return
        raise self._api.refusal(f"{action} of pod {pod_id}", answer)

    async def logs(self, instance_id: str, *, lines: int) -> list[str]:
        """Return the last lines of the container, and of its host, which pulls the image."""
        return await self._api.logs(instance_id, lines)

    async def bill(self, since: float, until: float) -> Bill:
        """Return pods only: network volumes are billed apart."""
        query = window(since, until)
        charges = read_records(await self._api.bill(query), query["bucketSize"])
        return Bill(provider=self.name, charges=charges)

    def console_url(self, instance_id: str) -> str:
        """Return the page of the pod."""
        return f"https://console.runpod.io/pods?id={instance_id}"

    async def close(self) -> None:
        """Close connections."""
        await self._api.close()


def _dollars(amount: Any) -> MicroUsd | None:
    return micro_usd(amount) if isinstance(amount, int | float) else None
