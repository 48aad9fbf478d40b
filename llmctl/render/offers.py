"""Offers and plans of renting as text and as JSON documents."""

from typing import Any

import msgspec

from llmctl.core.money import MicroUsd, decimal_text
from llmctl.core.rental import Fit, Offer, Rental, SshAddress, UpPlan
from llmctl.render.amounts import clock, duration, per_hour, size, usd
from llmctl.render.json import document
from llmctl.render.tables import Cell, table
from llmctl.render.wrapping import folded, wrapped

_HEADER = ("provider", "gpu", "price", "reliable", "down", "region", "left", "offer")


def offers_text(offers: list[Offer]) -> str:
    """Return one line for each offer, in the order given."""
    return table([_row(offer) for offer in offers], header=_HEADER)


def offers_document(offers: list[Offer]) -> str:
    """Return the offers as a JSON array."""
    return document([offer_fields(offer) for offer in offers])


def offer_fields(offer: Offer) -> dict[str, Any]:
    """Return an offer with money as decimal strings."""
    return money_fields(msgspec.to_builtins(offer))


def money_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with every ``usd`` amount as decimal text, in inner mappings too."""
    return {name: _shown(name, value) for name, value in fields.items()}


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return money_fields(value)
    if isinstance(value, list | tuple):
        return [_shown(name, each) for each in value]
    if _is_money(name) and isinstance(value, int):
        return decimal_text(MicroUsd(value))
    return value


def _is_money(name: str) -> bool:
    return "usd" in name.split("_")


def _row(offer: Offer) -> list[Cell]:
    count = f"{offer.gpu_count}x " if offer.gpu_count > 1 else ""
    speed = offer.download_mbps
    return [
        offer.provider.value + (" spot" if offer.spot else ""),
        f"{count}{offer.gpu_name}",
        per_hour(offer.usd_per_hour),
        "-" if offer.reliability is None else f"{offer.reliability:.1%}",
        "-" if speed is None else f"{speed:,.0f} Mb/s",
        offer.region or "-",
        "-" if offer.seconds_left is None else duration(offer.seconds_left),
        offer.id,
    ]


def rentals_text(rentals: list[Rental]) -> str:
    """Return one line for each rental, for the question before it is ended."""
    rows: list[list[Cell]] = [
        [
            rental.name,
            rental.provider.value + (f" {rental.instance_id}" if rental.instance_id else ""),
            rental.phase.value,
            per_hour(rental.usd_per_hour),
        ]
        for rental in rentals
    ]
    return table(rows).rstrip()


def plan_text(plan: UpPlan, *, width: int | None = None) -> str:
    """Return what ``up`` is about to do, with its price, before anything is spent."""
    if plan.resumes is not None:
        begin = (
            f"{plan.resumes.name} exists and is {plan.resumes.phase.value}; it is taken up there\n"
        )
    else:
        begin = ""
    rows = [*_machine(plan), *_engine(plan.fit), *_money(plan)]
    lines = begin + folded(rows, width)
    reasons = [plan.why] if plan.why else []
    reasons += plan.fit.reasons if plan.fit else ()
    said = [f"  {reason}" for reason in reasons]
    said += [f"warning: {warning}" for warning in plan.warnings]
    return lines + "".join(f"{wrapped(each, width)}\n" for each in said)


def plan_document(plan: UpPlan) -> str:
    """Return the plan as one JSON document."""
    fields = money_fields(msgspec.to_builtins(plan))
    fields["ready_usd"] = decimal_text(plan.ready_cost)
    del fields["ready_cost"]
    if plan.account is not None and plan.account.credit is not None:
        fields["account"]["credit_usd"] = decimal_text(plan.account.credit)
        del fields["account"]["credit"]
    return document(fields)


def _machine(plan: UpPlan) -> list[list[Cell]]:
    offer = plan.offer
    if offer is None:
        return [["machine", _own(plan.spec.host)]]
    where = f", {offer.region}" if offer.region else ""
    kind = ", spot" if offer.spot else ""
    count = f"{offer.gpu_count} x " if offer.gpu_count > 1 else ""
    machine = f"{count}{offer.gpu_name} at {offer.provider.value}{where}{kind}"
    if plan.resumes is not None and plan.resumes.instance_id is not None:
        return [["machine", machine], ["instance", plan.resumes.instance_id]]
    return [
        ["machine", machine],
        ["offer", f"{offer.id}, {len(plan.alternatives)} more if it cannot be had"],
    ]


def _own(host: SshAddress | None) -> str:
    return "this machine" if host is None else str(host)


def _engine(fit: Fit | None) -> list[list[Cell]]:
    if fit is None:
        return [["model", "chosen once its memory is known"]]
    context = f"{fit.num_ctx:,} tokens of context, KV cache {fit.kv_cache_type}"
    slots = f", {fit.parallel} at once" if fit.parallel > 1 else ""
    return [
        ["model", f"{fit.model}, {size(fit.model_bytes)}"],
        ["context", context + slots],
        ["disk", f"{fit.disk_gb} GB"],
    ]


def _money(plan: UpPlan) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    if plan.offer is not None:
        stopped = f", {per_hour(plan.offer.stopped_usd_per_hour)} while stopped"
        rows.append(["price", per_hour(plan.offer.usd_per_hour) + stopped])
        rows.append(["ends", _ends(plan)])
    if plan.ready_s is not None:
        cost = f" for about {usd(plan.ready_cost)}" if plan.ready_cost else ""
        rows.append(["ready in", f"about {clock(plan.ready_s)}{cost}"])
    if plan.account is not None and plan.account.credit is not None:
        rows.append(["credit", usd(plan.account.credit)])
    return rows


def _ends(plan: UpPlan) -> str:
    spec = plan.spec
    most = MicroUsd(0) if plan.offer is None else plan.offer.usd_per_hour
    left_s = spec.ttl_s if plan.ends_in_s is None else plan.ends_in_s
    top = usd(MicroUsd(round(most * left_s / 3600)))
    idle = f", or after {duration(spec.idle_s)} without a request" if spec.idle_s else ""
    return f"by itself after {duration(left_s)} (at most {top}){idle}"
