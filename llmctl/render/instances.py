"""What is rented, as tables and JSON documents."""

from typing import Any

import msgspec

from llmctl.core.money import MicroUsd, decimal_text
from llmctl.core.rental import Rental
from llmctl.core.reports import (
    Down,
    InstanceStatus,
    Listed,
    PowerPlan,
    Reconciled,
    UpResult,
)
from llmctl.render.amounts import duration, per_hour, usd
from llmctl.render.json import document
from llmctl.render.offers import money_fields
from llmctl.render.tables import Cell, table

_STATUS = ("name", "state", "machine", "model", "price", "so far", "left", "tunnel")


def status_text(instances: list[InstanceStatus], tunnels: dict[str, str]) -> str:
    """Return one line for each; ``tunnels`` says how the tunnel of a name is."""
    if not instances:
        return "nothing is rented\n"
    rows = [_status_row(each, tunnels.get(each.name, "-")) for each in instances]
    lines = table(rows, header=_STATUS)
    return lines + "".join(f"{each.name}: {each.detail}\n" for each in instances if each.detail)


def status_document(instances: list[InstanceStatus], tunnels: dict[str, str]) -> str:
    """Return the same as a JSON array."""
    return document([_builtins(each) | {"tunnel": tunnels.get(each.name)} for each in instances])


def _status_row(status: InstanceStatus, tunnel: str) -> list[Cell]:
    state = status.phase.value
    if status.state is not None and status.state.value not in ("running", state):
        state += f" ({status.state.value})"
    machine = f"{status.gpu} {status.provider.value}".strip()
    if status.instance_id:
        machine += f" {status.instance_id}"
    left = "-" if status.seconds_left is None else duration(status.seconds_left)
    if status.idle_left_s is not None:
        left += f" (idle {duration(status.idle_left_s)})"
    return [
        status.name,
        state,
        machine,
        status.model or "-",
        per_hour(status.usd_per_hour),
        usd(status.spent_usd),
        left,
        tunnel,
    ]


def reconciled_lines(reconciled: Reconciled) -> list[str]:
    """Return what the comparison with the markets came to, a line for each finding."""
    return mended_lines(reconciled) + [problem.message for problem in reconciled.problems]


def mended_lines(reconciled: Reconciled) -> list[str]:
    """Return what the comparison found and mended, and what a person must decide."""
    lines = [f"adopted {_which(each)}" for each in reconciled.adopted]
    lines += [f"{each.name} is gone: {each.detail or 'destroyed'}" for each in reconciled.ended]
    lines += [
        f"{each.provider.value} instance {each.id} has our label and no record here: "
        f"llmctl instance adopt {each.provider.value}:{each.id}, or instance destroy"
        for each in reconciled.strays
    ]
    return lines


def _which(rental: Rental) -> str:
    return f"{rental.provider.value} instance {rental.instance_id} as {rental.name}"


def up_text(result: UpResult) -> str:
    """Return the answer of ``up``: what is ready and what it costs."""
    rental = result.rental
    rows: list[list[Cell]] = [["name", rental.name], ["model", rental.model]]
    if rental.num_ctx:
        rows.append(["context", f"{rental.num_ctx:,} tokens"])
    if result.tokens_per_s is not None:
        rows.append(["speed", f"{result.tokens_per_s:.0f} tokens/s"])
    if rental.provider.paid:
        which = f"{rental.provider.value} {rental.instance_id}"
        rows += [["instance", which], ["price", per_hour(rental.usd_per_hour)]]
        rows.append(["so far", usd(result.spent)])
    return table(rows)


def up_document(result: UpResult) -> str:
    """Return the same as one JSON document."""
    return document(
        {
            "instance": _builtins(result.rental),
            "ready_before": result.tokens_per_s is None,
            "tokens_per_s": result.tokens_per_s,
            "seconds": round(result.seconds, 3),
            "own_seconds": round(result.own_seconds, 3),
            "spent_usd": _money(result.spent),
        }
    )


def down_text(ended: list[Down], already: list[str]) -> str:
    """Return a line for each that is gone, and for each that was."""
    lines = [f"{each.rental.name} is gone; it came to {usd(each.spent)}\n" for each in ended]
    return "".join(lines) + "".join(f"{name} is already down\n" for name in already)


def down_document(ended: list[Down], already: list[str]) -> str:
    """Return the same as a JSON document."""
    gone = [_builtins(each.rental) | {"spent_usd": _money(each.spent)} for each in ended]
    return document({"ended": gone, "already_down": already})


def listed_text(found: list[Listed]) -> str:
    """Return one line for each instance on the accounts."""
    if not found:
        return "there are none\n"
    header = ("instance", "state", "gpu", "price", "name", "label")
    return table([_listed_row(each) for each in found], header=header)


def listed_facts(listed: Listed) -> str:
    """Return everything the market says of one instance."""
    fields = _builtins(listed.instance)
    fields["addresses"] = ", ".join(str(each) for each in listed.instance.addresses)
    fields["name"] = listed.rental.name if listed.rental else None
    return table([[key, None if value is None else str(value)] for key, value in fields.items()])


def listed_document(found: list[Listed]) -> str:
    """Return the same as a JSON array."""
    return document(
        [
            _builtins(each.instance)
            | {
                "name": each.rental.name if each.rental else None,
                "made_by_llmctl": each.ours,
                "made_here": each.here,
            }
            for each in found
        ]
    )


def _listed_row(listed: Listed) -> list[Cell]:
    instance = listed.instance
    return [
        f"{instance.provider.value}:{instance.id}",
        instance.state.value,
        instance.gpu_name or "-",
        per_hour(instance.usd_per_hour),
        listed.rental.name if listed.rental else "-",
        instance.label or "-",
    ]


def power_text(plan: PowerPlan) -> str:
    """Return what stopping means for the bill."""
    return (
        f"{plan.rental.name}: {per_hour(plan.usd_per_hour)} while it runs, "
        f"{per_hour(plan.stopped_usd_per_hour)} while it is stopped; {plan.note}\n"
    )


def _builtins(value: Any) -> dict[str, Any]:
    return money_fields(msgspec.to_builtins(value))


def _money(amount: MicroUsd | None) -> str | None:
    return None if amount is None else decimal_text(amount)
