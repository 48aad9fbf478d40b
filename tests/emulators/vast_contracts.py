"""What vast.ai keeps: offers, contracts, and what each looks like as time passes; no HTTP.

A contract's fate is decided when it is made: ``never_scheduled``, ``stuck`` (pulls for ever),
``oci_error``, ``no_manifest``, ``exits`` (dies soon after it came up), ``offline`` (its host is
lost soon after), ``no_ssh`` (no port is published), ``relay_only``, ``relay_broken``.
"""

import re
from dataclasses import dataclass
from typing import Any

from tests.emulators.billing import Line
from tests.emulators.market import Machine, Market

MONTH_H = 720
NO_CONTAINER = ("never_scheduled", "stuck", "oci_error", "no_manifest")
FATES = (*NO_CONTAINER, "exits", "offline", "no_ssh", "relay_only", "relay_broken")
QUEUED = "Required resources are currently unavailable, state change queued."
OCI_ERROR = (
    "Error response from daemon: failed to create task for container: failed to create shim task: "
    "OCI runtime create failed: runc create failed: unable to start container process"
)
NO_MANIFEST = (
    "Error response from daemon: manifest for ghcr.io/example/gone:1 not found: manifest unknown"
)
SEARCH_CAP = 64


class Refused(Exception):
    """A request that is answered with an error object."""

    def __init__(self, status: int, error: str, msg: str, **more: Any) -> None:
        super().__init__(msg)
        self.status = status
        self.body = {"success": False, "error": error, "msg": msg, **more}


def no_such_ask(ask_id: int, status: int = 400) -> Refused:
    msg = f"error 404/3603: no_such_ask  Instance type by id {ask_id} is not available."
    return Refused(status, "invalid_args", msg, ask_id=ask_id)


def no_such_instance(instance_id: str) -> Refused:
    return Refused(404, "no_such_instance", f"Instance {instance_id} not found.")


@dataclass
class Ask:
    """Something rentable. Prices are dollars, as the market writes them."""

    id: int
    gpu_name: str = "RTX 4090"
    num_gpus: int = 1
    gpu_ram: int = 24564
    base: float = 0.30
    """An hour of the GPUs alone."""
    storage_cost: float = 0.15
    """A GB and month."""
    min_bid: float = 0.12
    reliability: float = 0.995
    geolocation: str | None = "Oslo, NO"
    inet_down: float = 850.0
    inet_up: float = 600.0
    inet_down_cost: float = 0.002
    inet_up_cost: float = 0.004
    duration: float = 30 * 86400.0
    cuda: float = 12.8
    ports: int = 8
    disk_space: float = 500.0
    verification: str = "verified"
    hosting_type: int = 0
    external: bool = False
    rented: bool = False
    """By somebody else."""

    def shown(self, disk: float, *, bid: bool, now: float, rented: bool) -> dict:
        gpu = self.min_bid if bid else self.base
        storage = disk * self.storage_cost / MONTH_H
        return {
            "id": self.id,
            "ask_contract_id": self.id,
            "bundle_id": self.id + 5,
            "machine_id": self.id % 100_000,
            "host_id": 7000 + self.id % 100,
            "hosting_type": self.hosting_type,
            "gpu_name": self.gpu_name,
            "num_gpus": self.num_gpus,
            "gpu_frac": 1.0,
            "gpu_ram": self.gpu_ram,
            "gpu_total_ram": self.gpu_ram * self.num_gpus,
            "cuda_max_good": self.cuda,
            "compute_cap": 890,
            "driver_version": "570.86.15",
            "cpu_cores": 64,
            "cpu_cores_effective": 16.0,
            "cpu_ram": 257_000,
            "disk_space": self.disk_space,
            "disk_bw": 3200.0,
            "inet_down": self.inet_down,
            "inet_up": self.inet_up,
            "inet_down_cost": self.inet_down_cost,
            "inet_up_cost": self.inet_up_cost,
            "storage_cost": self.storage_cost,
            "storage_total_cost": storage,
            "dph_base": gpu,
            "dph_total": gpu + storage,
            "min_bid": self.min_bid,
            "is_bid": bid,
            "reliability": self.reliability,
            "reliability2": self.reliability,
            "verification": self.verification,
            "geolocation": self.geolocation,
            "direct_port_count": self.ports,
            "static_ip": True,
            "duration": self.duration,
            "end_date": now + self.duration,
            "rentable": not rented,
            "rented": rented,
            "external": self.external,
            "score": 300.0 / self.base,
            "dlperf": 95.0,
        }


def usual_asks() -> list[Ask]:
    return [
        Ask(id=9_000_001, base=0.34, hosting_type=1),
        Ask(id=9_000_002, base=0.30),
        Ask(id=9_000_003, base=0.38, geolocation="Iowa, US", inet_down=2500.0),
        Ask(id=9_000_004, base=0.26, gpu_name="RTX 4090D"),
        Ask(id=9_000_005, base=0.15, gpu_name="RTX 3090", gpu_ram=24576),
        Ask(id=9_000_006, base=2.10, gpu_name="H100 SXM", gpu_ram=81559, min_bid=1.2),
        Ask(id=9_000_007, base=1.90, gpu_name="H100 PCIE", gpu_ram=81559, min_bid=1.1),
        Ask(id=9_000_008, base=2.00, gpu_name="H100 NVL", gpu_ram=95830, min_bid=1.1),
        Ask(id=9_000_009, base=0.60, num_gpus=2),
        Ask(id=9_000_010, base=0.11, verification="unverified"),
        Ask(id=9_000_011, base=0.12, ports=0),
    ]


_OPERATORS = {
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


def _matches(row: dict, name: str, condition: dict) -> bool:
    if name == "id":
        return False  # as observed: only ask_contract_id finds anything
    value = row.get(name)
    if name == "verified":
        value = row["verification"] == "verified"
    if name == "datacenter":
        value = row["hosting_type"] == 1
    if name == "geolocation":
        value = (value or "")[-2:]
    if value is None:
        return False
    for operator, wanted in condition.items():
        if operator in ("in", "notin"):
            if (value in wanted) != (operator == "in"):
                return False
        elif not _OPERATORS[operator](value, type(value)(wanted)):
            return False
    return True


class Contracts:
    """Orders and views of contracts."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.asks: dict[int, Ask] = {ask.id: ask for ask in usual_asks()}
        self.ignored_filters: set[str] = {"inet_down", "cuda_max_good"}
        """Numeric filters that the server does not honour today."""
        self.arms_deadlines = True
        """Whether a start script that mentions LLMCTL_DEADLINE is believed to act on it."""
        self.schedule_s, self.pull_s, self.create_s = 6.0, 30.0, 2.0
        self.exited_s = 5.0
        """How long a restarted contract still says ``exited``."""
        self.fate: str | None = None
        """Of the contracts made from now on."""
        self.address_of = lambda machine: ("203.0.113.7", 41_000 + machine.spec["starts"])
        """Where a contract's sshd is published, by machine and start."""
        self.relay_of = lambda machine: ("ssh5.vast.ai", 10_000 + int(machine.id) % 10_000)
        self._made = 0

    # Offers.

    def search(self, query: dict) -> list[dict]:
        """Answer ``POST /bundles/``: at most 64 rows, priced for ``allocated_storage``."""
        bid, disk = query.get("type") == "bid", float(query.get("allocated_storage", 5.0))
        now = self.market.clock.now()
        taken = self._taken()
        rows = [
            ask.shown(disk, bid=bid, now=now, rented=ask.rented or ask.id in taken)
            for ask in self.asks.values()
        ]
        for name, condition in query.items():
            if isinstance(condition, dict) and name not in self.ignored_filters:
                rows = [row for row in rows if _matches(row, name, condition)]
        for name, direction in reversed(query.get("order", [])):
            rows.sort(key=lambda row: row[name], reverse=direction == "desc")
        return rows[: min(int(query.get("limit") or SEARCH_CAP), SEARCH_CAP)]

    def _taken(self) -> set[int]:
        """Offers that somebody on this account has rented."""
        return {machine.spec["ask"].id for machine in self.market.live()}

    # Contracts.

    def create(self, ask_id: int, body: dict, fate: str | None) -> Machine:
        """Rent; a bid that is too low makes a stopped contract and is refused all the same."""
        ask = self.asks.get(ask_id)
        if ask is None or ask.rented or ask.id in self._taken():
            raise no_such_ask(ask_id)
        self._check(body)
        price = body.get("price")
        gpu = ask.base if price is None else float(price)
        if self.market.credit < gpu * 1_000_000:
            msg = "Your account lacks credit; see the billing page."
            raise Refused(400, "insufficient_credit", msg)
        machine = self.make(body, ask=ask, gpu_price=gpu, fate=fate or self.fate)
        if price is not None and float(price) < ask.min_bid:
            self.stop(machine)
            raise Refused(
                400, "invalid_price", "bid is below the minimum", new_contract=int(machine.id)
            )
        return machine

    def _check(self, body: dict) -> None:
        if not body.get("image"):
            raise Refused(400, "invalid_args", "image is missing")
        if float(body.get("disk") or 0) < 8:
            raise Refused(400, "invalid_args", "disk must be at least 8")
        if len(body.get("onstart") or "") > 4096:
            raise Refused(400, "invalid_args", "onstart is longer than 4096 characters")
        if len(body.get("label") or "") > 256:
            raise Refused(400, "invalid_args", "label is longer than 256 characters")
        env = body.get("env") or {}
        if not isinstance(env, dict) or not all(isinstance(v, str) for v in env.values()):
            raise Refused(400, "invalid_args", "env must be an object of strings")

    def make(self, body: dict, *, ask: Ask, gpu_price: float, fate: str | None = None, **fields):
        """Add a contract to the account, without asking whether it can be had."""
        self._made += 1
        disk = round(float(body.get("disk") or 10) * ask.storage_cost / MONTH_H * 1_000_000)
        machine = Machine(
            id=fields.pop("id", str(30_000_000 + self._made)),
            label=body.get("label") or "",
            created_at=self.market.clock.now(),
            running_price=round(gpu_price * 1_000_000) + disk,
            stopped_price=disk,
            spec={
                "body": body, "env": body.get("env") or {}, "onstart": body.get("onstart") or "",
                "ask": ask, "fate": fate or "", "starts": 0, "keys": [], "bid": body.get("price"),
                "lines": ["Container starting", "sshd listening on 22"],
            },
            **fields,
        )  # fmt: skip
        machine.spec["key"] = f"instance-key-of-{machine.id}"
        self.market.add(machine)
        self._started(machine)
        return machine

    def foreign(self, count: int) -> list[Machine]:
        """Machines of somebody else on the account, listed before ours."""
        known = sum(machine.foreign for machine in self.market.machines.values())
        made = []
        for number in range(known, known + count):
            ask = Ask(id=8_000_000 + number)
            fields = {"id": str(20_000_000 + number), "foreign": True}
            body = {
                "label": f"training-{number}" if number % 2 else None,
                "image": "pytorch",
                "disk": 40,
            }
            made.append(self.make(body, ask=ask, gpu_price=0.4, **fields))
        return made

    def _started(self, machine: Machine) -> None:
        spec, now = machine.spec, self.market.clock.now()
        spec["starts"] += 1
        machine.gpu_from = now + self._coming_up_s(machine)
        if spec["fate"] in NO_CONTAINER:
            machine.gpu_from = float("inf")
        deadline = spec["env"].get("LLMCTL_DEADLINE", "")
        machine.deadline = None
        if not self.arms_deadlines or spec["fate"] in NO_CONTAINER:
            return
        if "LLMCTL_DEADLINE" in spec["onstart"] and re.fullmatch(r"[0-9]+(\.[0-9]+)?", deadline):
            machine.deadline = float(deadline) if float(deadline) > now else now + 3600

    def _coming_up_s(self, machine: Machine) -> float:
        if machine.spec["starts"] > 1:
            return self.exited_s
        return self.schedule_s + self.pull_s + self.create_s

    def stop(self, machine: Machine) -> None:
        """Also takes back a queued start."""
        self.market.run(machine, running=False)
        machine.wanted = "stopped"
        machine.deadline = None  # what would act on it stopped with the container

    def start(self, machine: Machine) -> None:
        if not machine.running:
            self.market.run(machine, running=True)
            machine.wanted = "running"
            self._started(machine)

    def queue(self, machine: Machine) -> None:
        """Its GPU is taken: the start waits, and may begin at any time."""
        machine.wanted = "running"

    def recycle(self, machine: Machine) -> None:
        self.market.run(machine, running=True)
        self._started(machine)

    def outbid(self, machine: Machine) -> None:
        """Somebody offered more, or the credit is gone: stopped without asking."""
        self.stop(machine)

    # What a contract looks like.

    def status(self, machine: Machine) -> str | None:
        """``actual_status`` now."""
        spec, age = machine.spec, self.market.clock.now() - machine.started_at
        if not machine.running:
            return "exited"
        if spec["fate"] == "never_scheduled":
            return None
        if spec["starts"] > 1:
            return "exited" if age < self.exited_s else self._up(machine, age - self.exited_s)
        if age < self.schedule_s:
            return None
        if age < self.schedule_s + self.pull_s or spec["fate"] in ("stuck", "no_manifest"):
            return "loading"
        if age < self._coming_up_s(machine) or spec["fate"] == "oci_error":
            return "created"
        return self._up(machine, age - self._coming_up_s(machine))

    def _up(self, machine: Machine, age: float) -> str:
        fate = machine.spec["fate"]
        return (
            {"exits": "exited", "offline": "offline"}.get(fate, "running")
            if age >= 5
            else "running"
        )

    def _message(self, machine: Machine, status: str | None) -> str | None:
        texts = {"oci_error": OCI_ERROR, "no_manifest": NO_MANIFEST}
        if status in ("loading", "created") and machine.spec["fate"] in texts:
            return texts[machine.spec["fate"]]
        pulling = "Pulling from example/sshd: Downloading 3/12"
        return {
            None: None,
            "loading": pulling,
            "running": "success, running example/sshd_1/ssh\n",
        }.get(status, "")

    def shown(self, machine: Machine) -> dict:
        """One row of the instances."""
        spec, status = machine.spec, self.status(machine)
        body, ask = spec["body"], spec["ask"]
        current = "running" if machine.running else "stopped"
        relay_host, relay_port = self.relay_of(machine)
        if spec["fate"] == "relay_broken":
            relay_host, relay_port = "127.0.0.1", 1
        host, ports = self._direct(machine, status)
        return {
            "id": int(machine.id),
            "label": machine.label or None,
            "machine_id": ask.id % 100_000,
            "host_id": 7000 + ask.id % 100,
            "actual_status": status,
            "intended_status": machine.wanted,
            "cur_state": current,
            "next_state": machine.wanted,
            "status_msg": self._message(machine, status),
            "gpu_name": ask.gpu_name,
            "num_gpus": ask.num_gpus,
            "gpu_ram": ask.gpu_ram,
            "geolocation": ask.geolocation,
            "disk_space": float(body.get("disk") or 10),
            "dph_base": (machine.running_price - machine.stopped_price) / 1_000_000,
            "dph_total": machine.running_price / 1_000_000,
            "storage_cost": ask.storage_cost,
            "storage_total_cost": machine.stopped_price / 1_000_000,
            "inet_down_cost": ask.inet_down_cost,
            "inet_up_cost": ask.inet_up_cost,
            "is_bid": spec["bid"] is not None,
            "min_bid": ask.min_bid,
            "public_ipaddr": host,
            "ports": ports,
            "ssh_host": relay_host,
            "ssh_port": relay_port,
            "ssh_idx": relay_host.partition(".")[0][3:],
            "direct_port_count": ask.ports,
            "image_uuid": body.get("image"),
            "image_runtype": body.get("runtype", "ssh_direc ssh_proxy"),
            "extra_env": [list(pair) for pair in spec["env"].items()],
            "onstart": spec["onstart"],
            "start_date": machine.started_at if status is not None else None,
            "end_date": machine.created_at + ask.duration,
            "verification": ask.verification,
        }

    def _direct(self, machine: Machine, status: str | None) -> tuple[str | None, dict | None]:
        """The address comes with the container; hosts without ports have none."""
        host, port = self.address_of(machine)
        if status is None:
            return None, None
        if status != "running" or machine.spec["fate"] in ("no_ssh", "relay_only"):
            return host + "\n", {}
        rows = [
            {"HostIp": "0.0.0.0", "HostPort": str(port)},
            {"HostIp": "::", "HostPort": str(port)},
        ]
        return host + "\n", {"22/tcp": rows}


def charged(line: Line) -> dict:
    """One row of the charges: a contract on one day, dollars with three decimals.

    What was destroyed stays listed.
    """
    machine = line.machine
    parts = {"gpu": line.gpu, "disk": line.disk, "bwd": line.traffic, "refund": line.refund}
    return {
        "start": line.begins, "end": line.ends, "type": "instance",
        "source": f"instance-{machine.id}",
        "description": "Refund" if line.refund else "GPU and storage",
        "amount": _dollars(line.total),
        "metadata": {"label": machine.label},
        "items": [
            {"type": name, "amount": _dollars(amount), "description": name}
            for name, amount in parts.items()
            if amount
        ],
    }  # fmt: skip


def _dollars(amount: float) -> float:
    return round(amount / 1_000_000, 3)
