"""RunPod's pods and catalogue over one ``Market``: what was ordered, where it stands, how it is shown.

A pod goes PROVISIONING -> STARTING -> RUNNING by the market's clock, counted from its last start.
Its *fate* (in ``machine.spec``) says what goes wrong on the way:

``never_scheduled``  stays PROVISIONING · ``stuck``  stays STARTING · ``error``  ends in ERROR
``no_ssh``  RUNNING, 22/tcp never mapped · ``ssh_null``  mapped, but ``ssh.direct`` stays null
``no_public_ip``  mapped to the host's 100.65.x.x

The first three have no container: nothing is billed for them, and no watchdog runs in them [A].
"""

import base64
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.emulators.market import Machine, Market

CONTAINER_DISK_MONTH = 100_000
"""Micro-dollars a GB and month; a month has 720 hours."""
VOLUME_STOPPED_MONTH = 200_000
MONTH_H = 720
NO_CONTAINER = ("never_scheduled", "stuck", "error")
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)
GPU_TAKEN = "There are not enough free GPUs on the host machine to start this pod."
ACTIONS = {
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["start", "terminate"],
    "PROVISIONING": ["stop", "terminate"],
    "STARTING": ["stop", "terminate"],
}


class Refused(Exception):
    """A request that is answered with a problem."""

    def __init__(self, status: int, detail: str, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


@dataclass
class GpuType:
    """One row of the catalogue. ``stock`` is by data centre, for the secure cloud."""

    id: str
    name: str
    memory: int
    secure: float | None
    community: float | None
    stock: dict[str, str] = field(default_factory=dict)
    community_stock: str = "NONE"
    cuda: tuple[str, ...] = ("12.4", "12.8")
    max_count: int = 8

    def shown(self, cloud: str) -> dict:
        """The catalogue's row, with availability."""
        levels = ("NONE", "LOW", "MEDIUM", "HIGH")
        if cloud == "COMMUNITY":
            overall, places = self.community_stock, []
        else:
            places = [{"id": d, "name": d, "availability": a} for d, a in self.stock.items()]
            overall = max(self.stock.values(), key=levels.index, default="NONE")
        row = {
            "id": self.id,
            "name": self.name,
            "pool": None,
            "manufacturer": "NVIDIA",
            "memory": self.memory,
            "secure": self.secure is not None,
            "community": self.community is not None,
            "price": {"secure": self.secure or 0, "community": self.community or 0},
            "maxCount": {"secure": self.max_count, "community": self.max_count},
            "availability": overall,
            "cudaVersions": [{"version": v, "available": True} for v in self.cuda],
        }
        return row | ({"dataCenters": places} if places else {})


def usual_gpus() -> list[GpuType]:
    return [
        GpuType(
            "NVIDIA GeForce RTX 4090", "RTX 4090", 24, 0.69, 0.34,
            {"EU-RO-1": "HIGH", "US-KS-2": "LOW", "EUR-IS-1": "NONE"}, "HIGH",
        ),
        GpuType("NVIDIA GeForce RTX 3090", "RTX 3090", 24, 0.46, 0.22, {"EU-CZ-1": "MEDIUM"}, "LOW"),
        GpuType("NVIDIA H100 80GB HBM3", "H100 SXM", 80, 2.99, None, {"CA-MTL-1": "MEDIUM"}),
        GpuType("NVIDIA H100 PCIe", "H100 PCIe", 80, 2.39, 1.99, {"US-CA-2": "LOW"}, "NONE"),
        GpuType("NVIDIA H200", "H200 SXM", 141, 3.99, None, {"EUR-IS-1": "HIGH"}),
    ]  # fmt: skip


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def disk_price(body: dict) -> tuple[int, int]:
    """Micro-dollars an hour of a pod's own disks: running, stopped. Network volumes bill apart."""
    volume = ((body.get("mounts") or {}).get("persistent") or {}).get("size", 0)
    running = (body.get("disk", 0) + volume) * CONTAINER_DISK_MONTH
    return math.ceil(running / MONTH_H), math.ceil(volume * VOLUME_STOPPED_MONTH / MONTH_H)


def carried_script(args: str) -> str | None:
    """The shell text that ``args`` bring along in base64, if they do."""
    for word in re.findall(r"[A-Za-z0-9+/]{8,}={0,2}", args):
        try:
            text = base64.b64decode(word, validate=True).decode()
        except ValueError:
            continue
        if text.isprintable() or "\n" in text:
            return text
    return None


class Pods:
    """Orders and views of pods; no wire format."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.gpus = usual_gpus()
        self.volumes: dict[str, dict] = {}
        self.provisioning_s = 8.0
        self.starting_s = 20.0
        self.fate: str | None = None
        """Of the pods created from now on."""
        self.arms_deadlines = True
        """Whether a start script that mentions LLMCTL_DEADLINE is believed to act on it."""
        self.address_of = lambda machine: ("203.0.113.7", machine.spec["port"])
        """Where a pod's sshd is: point it at a real one, by machine and start."""
        self._made = 0
        self._port = 30000

    def gpu(self, gpu_id: str) -> GpuType | None:
        return next((each for each in self.gpus if each.id == gpu_id), None)

    def create(self, body: dict) -> Machine:
        """Rent; raises ``Refused`` where there is no money or no capacity."""
        gpu, cloud = self.gpu(body["gpu"]["id"]), body.get("cloud", "SECURE")
        if gpu is None:
            raise Refused(400, f"gpu type {body['gpu']['id']} not found")
        price = gpu.secure if cloud == "SECURE" else gpu.community
        if price is None:
            raise Refused(400, NO_CAPACITY)
        place = self._place(gpu, cloud, body)
        hourly = round(price * 1_000_000) * body["gpu"].get("count", 1)
        if self.market.credit < hourly:
            raise Refused(402, "insufficient balance: add funds to rent this pod")
        return self.make(body, gpu_price=hourly, place=place)

    def _place(self, gpu: GpuType, cloud: str, body: dict) -> str | None:
        wanted = body.get("dataCenterIds") or list(gpu.stock)
        for mount in (body.get("mounts") or {}).get("network", ()):
            volume = self.volumes.get(mount["volumeId"])
            if volume is None:
                raise Refused(404, f"network volume {mount['volumeId']} not found")
            wanted = [each for each in wanted if each == volume["dataCenter"]]
        lowest = body["gpu"].get("minCudaVersion")
        if lowest and not any(_version(each) >= _version(lowest) for each in gpu.cuda):
            raise Refused(400, NO_CAPACITY)
        if cloud == "COMMUNITY":
            if gpu.community_stock == "NONE" or body.get("dataCenterIds"):
                raise Refused(400, NO_CAPACITY)
            return None
        places = [each for each in wanted if gpu.stock.get(each, "NONE") != "NONE"]
        if not places:
            raise Refused(400, NO_CAPACITY)
        return places[0]

    def make(self, body: dict, *, gpu_price: int, place: str | None, **fields) -> Machine:
        """Add a pod to the account, without asking whether it can be had; also for foreign ones."""
        self._made += 1
        pod_id = fields.pop("id", f"pod{self._made:04d}x7k2")
        fate = self.fate or ""
        disk, stopped = disk_price(body)
        now = self.market.clock.now()
        machine = Machine(
            id=pod_id,
            label=body.get("name", ""),
            created_at=now,
            running_price=0 if fate in NO_CONTAINER else gpu_price + disk,
            stopped_price=stopped,
            spec={"body": body, "env": body.get("env") or {}, "args": body.get("args", ""),
                  "gpu_price": gpu_price, "place": place, "fate": fate, "starts": 0,
                  "key": f"rpp_{pod_id}", "lines": ["Starting Nginx service...", "Pod Started"]},
            **fields,
        )  # fmt: skip
        self.market.add(machine)
        self._started(machine)
        return machine

    def _started(self, machine: Machine) -> None:
        """A start: a new port, an empty container disk and so a new host key."""
        self._port += 1
        machine.spec["port"] = self._port
        machine.spec["starts"] += 1
        self._arm(machine)

    def _arm(self, machine: Machine) -> None:
        """Let the pod's own watchdog end it, if its start command arms one.

        A pod that is started after its deadline has passed gets an hour.
        """
        now, spec = self.market.clock.now(), machine.spec
        deadline = spec["env"].get("LLMCTL_DEADLINE", "")
        machine.deadline = None
        if not self.arms_deadlines or spec["fate"] in NO_CONTAINER:
            return
        script = carried_script(spec["args"]) or ""
        if "LLMCTL_DEADLINE" in script and re.fullmatch(r"[0-9]+(\.[0-9]+)?", deadline):
            machine.deadline = float(deadline) if float(deadline) > now else now + 3600

    def stop(self, machine: Machine) -> None:
        self.market.run(machine, running=False)
        machine.deadline = None  # what would act on it stopped with the container

    def start(self, machine: Machine) -> None:
        """Start again; refused where ``gpu_taken`` is set in its ``spec``."""
        if machine.spec.get("gpu_taken"):
            raise Refused(400, GPU_TAKEN)
        self.market.run(machine, running=True)
        self._started(machine)

    def status(self, machine: Machine) -> str:
        if not machine.running:
            return "EXITED"
        age = self.market.clock.now() - machine.started_at
        fate = machine.spec["fate"]
        if age < self.provisioning_s or fate == "never_scheduled":
            return "PROVISIONING"
        if age < self.provisioning_s + self.starting_s or fate == "stuck":
            return "STARTING"
        return "ERROR" if fate == "error" else "RUNNING"

    def address(self, machine: Machine) -> tuple[str, int] | None:
        """Where 22/tcp is published."""
        if self.status(machine) != "RUNNING" or machine.spec["fate"] == "no_ssh":
            return None
        if "22/tcp" not in (machine.spec["body"].get("ports") or ()):
            return None
        if machine.spec["fate"] == "no_public_ip":
            return "100.65.0.21", machine.spec["port"]
        return self.address_of(machine)

    def shown(self, machine: Machine) -> dict:
        """A pod as REST v2 shows it."""
        body, status = machine.spec["body"], self.status(machine)
        address = self.address(machine)
        up = status == "RUNNING"
        began = machine.started_at + self.provisioning_s
        seen = machine.running and status != "PROVISIONING"
        return {
            "id": machine.id,
            "name": machine.label,
            "image": body.get("image", ""),
            "args": machine.spec["args"],
            "disk": body.get("disk", 0),
            "ports": body.get("ports", []),
            "env": machine.spec["env"],
            "registry": None,
            "status": status,
            "actions": ACTIONS[status],
            "mounts": body.get("mounts", {}),
            "gpu": {"id": body["gpu"]["id"], "count": body["gpu"].get("count", 1)},
            "cloud": body.get("cloud", "SECURE"),
            "dataCenterId": machine.spec["place"],
            "cudaVersion": "12.8" if up else None,
            "ssh": {"proxy": _proxy(machine), "direct": self._direct(machine, address)},
            "template": None,
            "cost": machine.spec["gpu_price"] / 1_000_000 if machine.running else 0.0,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": self._runtime(address, began) if up else None,
            "createdAt": iso(machine.created_at),
            "startedAt": iso(began) if seen else None,
        }

    def _direct(self, machine: Machine, address: tuple[str, int] | None) -> dict | None:
        if address is None or machine.spec["fate"] in ("ssh_null", "no_public_ip"):
            return None
        host, port = address
        command = f"ssh root@{host} -p {port}"
        return {"host": host, "port": port, "username": "root", "command": command}

    def _runtime(self, address: tuple[str, int] | None, began: float) -> dict:
        rows = [] if address is None else [
            {"private": 22, "public": address[1], "type": "tcp", "ip": address[0]}
        ]  # fmt: skip
        return {"uptime": int(self.market.clock.now() - began), "ports": rows}


def _proxy(machine: Machine) -> dict:
    user = f"{machine.id}-64411eb2"
    command = f"ssh {user}@ssh.runpod.io"
    return {"host": "ssh.runpod.io", "port": 22, "username": user, "command": command}


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
