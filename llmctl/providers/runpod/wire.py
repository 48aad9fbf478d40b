"""RunPod's REST v2 as structs: what is read of its answers, and nothing that is not needed.

Fields that other people's pods may lack are optional, so that one odd pod does not hide the rest.
Source: the OpenAPI document of v2 (https://api.runpod.io/v2/openapi.json, August 2026).
"""

from typing import TypeVar

import msgspec
from msgspec import Struct

from llmctl.core.errors import ProviderError


class Mount(Struct, frozen=True, kw_only=True):
    """``mounts.persistent``: a disk that is bound to the pod's host."""

    size: int = 0


class Mounts(Struct, frozen=True, kw_only=True):
    """What is mounted; network volumes are billed apart from the pod and not read here."""

    persistent: Mount | None = None


class PodGpu(Struct, frozen=True, kw_only=True):
    """The card of a pod."""

    id: str = ""
    count: int = 1


class SshEndpoint(Struct, frozen=True, kw_only=True):
    """``ssh.direct``."""

    host: str
    port: int
    username: str = "root"


class Ssh(Struct, frozen=True, kw_only=True):
    """The relay, ``ssh.proxy``, has a shell and neither commands nor forwarding: it is not read."""

    direct: SshEndpoint | None = None


class RuntimePort(Struct, frozen=True, kw_only=True):
    """One published port."""

    private: int | None = None
    public: int | None = None
    type: str = ""
    ip: str | None = None


class Runtime(Struct, frozen=True, kw_only=True):
    """What runs; empty or null until the container does."""

    ports: list[RuntimePort] | None = None


class Pod(Struct, frozen=True, kw_only=True, rename="camel"):
    """One pod."""

    id: str
    status: str
    name: str | None = None
    disk: int | None = None
    cost: float | None = None
    """Dollars an hour for its GPUs; 0 while stopped, storage never included."""
    gpu: PodGpu | None = None
    cloud: str | None = None
    data_center_id: str | None = None
    mounts: Mounts | None = None
    ssh: Ssh | None = None
    runtime: Runtime | None = None
    created_at: str | None = None
    started_at: str | None = None


class Pods(Struct, frozen=True, kw_only=True, rename="camel"):
    """The list, which v2 gives whole; a token for a next page would mean that it no longer does."""

    pods: list[Pod]
    next_token: str | None = None
    next_cursor: str | None = None


class Place(Struct, frozen=True, kw_only=True):
    """One data centre that has a card."""

    id: str
    availability: str = "NONE"


class Cuda(Struct, frozen=True, kw_only=True):
    """A CUDA version that machines with a card run."""

    version: str
    available: bool = True


class GpuRow(Struct, frozen=True, kw_only=True, rename="camel"):
    """One card of the catalogue, asked for with its stock in one cloud."""

    id: str
    name: str = ""
    memory: int
    """GB."""
    secure: bool = False
    community: bool = False
    price: dict[str, float | None]
    """By ``secure`` and ``community``: dollars an hour for one."""
    max_count: dict[str, int | None] = {}
    availability: str = "NONE"
    data_centers: list[Place] | None = None
    cuda_versions: list[Cuda] | None = None


class Catalogue(Struct, frozen=True, kw_only=True):
    """Every card."""

    gpus: list[GpuRow]


class Volume(Struct, frozen=True, kw_only=True, rename="camel"):
    """A network volume; only pods of its data centre can mount it."""

    id: str
    data_center: str
    size: int = 0


class PodId(Struct, frozen=True, kw_only=True):
    """All that has to be understood of the answer to a create."""

    id: str


class Problem(Struct, frozen=True, kw_only=True):
    """``application/problem+json``: how v2 refuses."""

    title: str = ""
    detail: str = ""
    errors: list[str] | None = None

    @property
    def text(self) -> str:
        """Its own words."""
        return "; ".join([self.detail or self.title, *(self.errors or ())])


class LogLine(Struct, frozen=True, kw_only=True):
    """The payload of one event of the log stream."""

    line: str = ""


T = TypeVar("T")


def read(body: bytes, shape: type[T], what: str) -> T:
    """Return an answer as a struct; raises ``ProviderError`` for anything else, ``""`` included."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        start = body[:80].decode(errors="replace")
        raise ProviderError(
            f"RunPod's answer to {what} cannot be read ({failure}); it begins {start!r}",
            retryable=True,
        ) from failure


def read_problem(body: bytes) -> Problem | None:
    """Return v2's own refusal; None for what something else on the way answered."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return problem if problem.title or problem.detail else None
