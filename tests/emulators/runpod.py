"""RunPod on loopback: REST v2 and GraphQL over one ``Market``, written from its documentation.

Faults by operation (``market.faults.add("create", "http_500")``); operations are ``create``,
``list``, ``get``, ``destroy``, ``start``, ``stop``, ``restart``, ``logs``, ``catalog``, ``keys``,
``volumes``, ``billing`` and, for GraphQL, the same with ``graphql_`` before (``graphql_myself`` …):

nothing is done    429, 429_forever, http_500, http_502, http_503, html, html_403, empty, null,
                   old_schema, reset_before, hang_before, forbidden, unauthorized
it is done first   reset_after, hang_after, http_500_after, html_after
create             no_capacity, bad_request, no_funds, schema, and the fates of ``runpod_pods``
destroy            lies (204, and nothing happens), gone (404)
start              gpu_taken
GraphQL            no_data (JSON without ``data`` and ``errors``), error (200 with ``errors``)
"""

import asyncio
import json
import re
from collections import deque
from datetime import datetime

from aiohttp import web

from tests.emulators.billing import Line
from tests.emulators.market import Machine, Market
from tests.emulators.runpod_containers import PodContainers
from tests.emulators.runpod_graphql import GraphQl
from tests.emulators.runpod_pods import (
    ACTIONS,
    GPU_TAKEN,
    NO_CAPACITY,
    GpuType,
    Pods,
    Refused,
    iso,
)

__all__ = ["GpuType", "RunPod"]

POD_KEY = web.RequestKey("pod_key", object)
"""The pod whose own key was used; None for the account's."""
FAULT = web.RequestKey("fault", object)

FATES = ("never_scheduled", "stuck", "error", "no_ssh", "ssh_null", "no_public_ip")
CREATE_FIELDS = {
    "name", "image", "args", "disk", "env", "ports", "registry", "cloud", "cpu", "dataCenterIds",
    "globalNetworking", "gpu", "mounts", "startJupyter", "startSsh", "templateId",
}  # fmt: skip
GPU_FIELDS = {"id", "count", "minCudaVersion", "allowedCudaVersions"}
REFUSALS = {
    "http_500": (500, "internal error"),
    "http_502": (502, "bad gateway"),
    "http_503": (503, "service unavailable"),
    "unauthorized": (401, "invalid bearer token"),
    "forbidden": (403, "access denied"),
    "no_capacity": (400, NO_CAPACITY),
    "bad_request": (400, "mounts.persistent.size must be at least 10"),
    "no_funds": (402, "insufficient balance: add funds to rent this pod"),
    "schema": (422, "Request validation failed."),
    "gone": (404, "resource not found"),
    "gpu_taken": (400, GPU_TAKEN),
}
PAGE = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


class RunPod:
    """The service with one account, from ``async with`` on; ``url`` is its base."""

    def __init__(
        self,
        market: Market | None = None,
        *,
        key: str = "rpa_EMULATEDACCOUNTKEY0000",
        run_args: bool = False,
        honour_terminate_after: bool = False,
        per_minute: int | None = None,
    ) -> None:
        self.market = market or Market()
        self.pods = Pods(self.market)
        self.pods.arms_deadlines = not run_args
        self.key = key
        self.ssh_keys: list[str] = []
        self.honour_terminate_after = honour_terminate_after
        """The provider's own timers never worked: off unless a test wants them."""
        self.per_minute = per_minute
        """Requests a minute before 429; the real limit is 60."""
        self.url = ""
        self.graphql = GraphQl(self)
        self.containers = PodContainers(self) if run_args else None
        self._recent: deque[float] = deque()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "RunPod":
        app = web.Application(middlewares=[self._edge], client_max_size=4 * 2**20)
        app.add_routes(self._routes())
        # handlers that hang notice at once when their client leaves
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        if self.containers is not None:
            self.containers.begin()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.containers is not None:
            await self.containers.end()
        assert self._runner is not None
        await self._runner.cleanup()

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2/catalog/gpus", self._catalog),
            web.get("/v2/account/ssh-keys", self._keys),
            web.put("/v2/account/ssh-keys", self._set_keys),
            web.get("/v2/pods", self._list),
            web.post("/v2/pods", self._create),
            web.get("/v2/pods/{id}", self._get),
            web.delete("/v2/pods/{id}", self._destroy),
            web.post("/v2/pods/{id}/action", self._action),
            web.get("/v2/pods/{id}/logs", self._logs),
            web.get("/v2/billing/pods", self._billing),
            web.get("/v2/network-volumes", self._volumes),
            web.get("/v2/network-volumes/{id}", self._volume),
            web.post("/graphql", self.graphql.answer),
            web.route("*", "/v1/{rest:.*}", self._retired),
        ]

    # Every request passes here.

    @web.middleware
    async def _edge(self, request: web.Request, handler) -> web.StreamResponse:
        if request.path == "/graphql":
            return await handler(request)
        try:
            request[POD_KEY] = self.authorised(request)
            await self._quota()
            operation = await self._operation(request)
            request[FAULT] = self.market.record(operation, request.method, request.path)
            answer = await self.faulty(request, request[FAULT], handler)
        except Refused as refused:
            answer = problem(refused)
        except web.HTTPNotFound:
            answer = problem(Refused(404, "resource not found"))
        if not answer.prepared:
            answer.headers.update(self._quota_headers())
        return answer

    def authorised(self, request: web.Request) -> str | None:
        """Return the pod whose own key this is, None for the account's key."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            raise Refused(401, "missing bearer token")
        if key == self.key:
            return None
        for machine in self.market.live():
            if machine.spec.get("key") == key:
                return machine.id
        raise Refused(401, "invalid bearer token")

    async def _quota(self) -> None:
        now = self.market.clock.now()
        while self._recent and self._recent[0] <= now - 60:
            self._recent.popleft()
        if self.per_minute is not None and len(self._recent) >= self.per_minute:
            raise Refused(429, "rate limit exceeded for the minute window")
        self._recent.append(now)

    def _quota_headers(self) -> dict[str, str]:
        left = max(0, (self.per_minute or 60) - len(self._recent))
        return {
            "RateLimit-Policy": '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400',
            "RateLimit": f'"minute";r={left};t=30',
        }

    async def _operation(self, request: web.Request) -> str:
        path, method = request.path, request.method
        if path.endswith("/action"):
            body = await request.json()
            return str(body.get("action")).replace("terminate", "destroy")
        fixed = {"catalog": "catalog", "account": "keys", "billing": "billing",
                 "network-volumes": "volumes"}  # fmt: skip
        parts = path.split("/")
        if len(parts) > 2 and parts[2] in fixed:
            return fixed[parts[2]]
        if path.endswith("/logs"):
            return "logs"
        if path == "/v2/pods":
            return "create" if method == "POST" else "list"
        return "destroy" if method == "DELETE" else "get"

    async def faulty(self, request: web.Request, fault: str | None, handler) -> web.StreamResponse:
        """Answer with the fault, or let ``handler`` answer and then spoil it."""
        early = await self._instead(request, fault)
        if early is not None:
            return early
        answer = await handler(request)
        if fault == "reset_after":
            return reset(request)
        if fault == "hang_after":
            await asyncio.sleep(3600)
        if fault == "http_500_after":
            return problem(Refused(500, "internal error"))
        if fault == "html_after":
            return web.Response(text=PAGE, content_type="text/html")
        return answer

    async def _instead(self, request: web.Request, fault: str | None) -> web.Response | None:
        if fault in ("429", "429_forever"):
            return problem(Refused(429, "rate limit exceeded for the minute window"))
        if fault in REFUSALS:
            return problem(Refused(*REFUSALS[fault]))
        if fault in ("html", "html_403"):
            status = 403 if fault == "html_403" else 200
            return web.Response(text=PAGE, content_type="text/html", status=status)
        if fault in ("empty", "null", "old_schema"):
            texts = {"empty": '""', "null": "null", "old_schema": '[{"id": "abc"}]'}
            return web.Response(text=texts[fault], content_type="application/json")
        if fault == "reset_before":
            return reset(request)
        if fault == "hang_before":
            await asyncio.sleep(3600)
        return None

    # REST v2.

    async def _retired(self, request: web.Request) -> web.Response:
        raise Refused(410, "REST API v1 was retired on 2026-11-15; use https://api.runpod.io/v2")

    async def _catalog(self, request: web.Request) -> web.Response:
        query = request.query
        if query.get("include") == "AVAILABILITY" and "product" not in query:
            raise Refused(400, "product is required with include=AVAILABILITY")
        cloud = query.get("cloud", "SECURE")
        rows = [gpu.shown(cloud) for gpu in self.pods.gpus]
        lowest = query.get("minCudaVersion")
        if lowest:
            rows = [each for each in rows if _offers_cuda(each, lowest)]
        if "include" not in query:
            extra = ("availability", "dataCenters", "cudaVersions")
            rows = [{k: v for k, v in each.items() if k not in extra} for each in rows]
        return web.json_response({"gpus": rows})

    async def _keys(self, request: web.Request) -> web.Response:
        self._account_only(request)
        return web.json_response({"keys": self.ssh_keys})

    async def _set_keys(self, request: web.Request) -> web.Response:
        self._account_only(request)
        self.ssh_keys = (await request.json())["keys"]
        return web.json_response({"keys": self.ssh_keys})

    async def _list(self, request: web.Request) -> web.Response:
        self._account_only(request)
        return web.json_response({"pods": [self.pods.shown(m) for m in self.market.listed()]})

    async def _create(self, request: web.Request) -> web.Response:
        self._account_only(request)
        body = await request.json()
        check_create(body)
        fate = request[FAULT]
        before = self.pods.fate
        self.pods.fate = fate if fate in FATES else before
        try:
            machine = self.pods.create(body)
        finally:
            self.pods.fate = before
        return web.json_response(self.pods.shown(machine), status=201)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(self.pods.shown(self._pod(request)))

    async def _destroy(self, request: web.Request) -> web.Response:
        machine = self._pod(request)
        if request[FAULT] != "lies":
            self.market.end(machine)
        return web.Response(status=204)

    async def _action(self, request: web.Request) -> web.Response:
        machine, body = self._pod(request), await request.json()
        action = body.get("action")
        if set(body) != {"action"} or action not in ("start", "stop", "restart", "terminate"):
            raise Refused(422, "Request validation failed.", [f"unknown action {action!r}"])
        status = self.pods.status(machine)
        if action not in ACTIONS[status]:
            raise Refused(409, f"action {action} is not valid for a pod that is {status}")
        if action == "terminate":
            return await self._destroy(request)
        if action == "stop":
            self.pods.stop(machine)
        else:
            self.pods.start(machine)
        return web.json_response(self.pods.shown(machine))

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        machine = self._pod(request)
        stream = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
        )
        await stream.prepare(request)
        tail = int(request.query.get("tail", "100"))
        lines = machine.spec["lines"]
        for number, line in enumerate(lines[-tail:] if tail else []):
            at = iso(machine.created_at + number)
            event = {"ts": at, "source": "container", "line": line}
            await stream.write(f"id: {at}/{number:012d}\ndata: {json.dumps(event)}\n\n".encode())
        await asyncio.sleep(3600)  # it stays open for what comes next
        return stream

    async def _billing(self, request: web.Request) -> web.Response:
        self._account_only(request)
        query, now = request.query, self.market.clock.now()
        size = query.get("bucketSize", "day")
        if size not in BUCKETS:
            raise Refused(422, "Request validation failed.", [f"unknown bucketSize {size!r}"])
        bucket_s = BUCKETS[size]
        until = _moment(query.get("endTime"), now)
        since = _moment(query.get("startTime"), until - 30 * 86400)
        # the window is snapped to whole buckets
        since = since // bucket_s * bucket_s
        lines = self.market.billing.lines(since, until, bucket_s=bucket_s)
        wanted = query.get("podId")
        lines = [each for each in lines if wanted in (None, each.machine.id)]
        records = [_billed(each, bucket_s) for each in lines]
        total = {k: sum(each[k] for each in records) for k in AMOUNTS}
        pods = {each["podId"] for each in records}
        metadata = {"query": {"podId": wanted, "bucketSize": size}, "recordCount": len(records),
                    "uniquePodCount": len(pods), "totals": total}  # fmt: skip
        return web.json_response({"records": records, "metadata": metadata})

    async def _volumes(self, request: web.Request) -> web.Response:
        self._account_only(request)
        return web.json_response({"networkVolumes": list(self.pods.volumes.values())})

    async def _volume(self, request: web.Request) -> web.Response:
        self._account_only(request)
        volume = self.pods.volumes.get(request.match_info["id"])
        if volume is None:
            raise Refused(404, "resource not found")
        return web.json_response(volume)

    def add_volume(self, volume_id: str, *, place: str, size: int = 100) -> None:
        self.pods.volumes[volume_id] = {
            "id": volume_id, "name": volume_id, "size": size, "dataCenter": place,
            "type": "STANDARD",
        }  # fmt: skip

    def add_foreign(self, name: str = "somebody-elses-pod", **fields) -> Machine:
        """A pod of the account's owner, which llmctl must leave alone."""
        body = {
            "name": name, "image": "runpod/pytorch:2.8.0", "disk": 50, "ports": ["8888/http"],
            "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
            "mounts": {"persistent": {"size": 20, "path": "/workspace"}},
        }  # fmt: skip
        return self.pods.make(body, gpu_price=690_000, place="EU-RO-1", foreign=True, **fields)

    def _account_only(self, request: web.Request) -> None:
        if request[POD_KEY] is not None:
            raise Refused(403, "access denied")

    def _pod(self, request: web.Request) -> Machine:
        pod_id = request.match_info["id"]
        if request[POD_KEY] not in (None, pod_id):
            raise Refused(403, "access denied")
        machine = self.market.machine(pod_id)
        if machine is None:
            raise Refused(404, "resource not found")
        return machine


BUCKETS = {"hour": 3600.0, "day": 86400.0}
AMOUNTS = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")


def _billed(line: Line, bucket_s: float) -> dict:
    """One record; its times are the bucket's, whatever part of it the pod lived."""
    begins = line.begins // bucket_s * bucket_s
    gpu = (line.gpu + line.refund) / 1_000_000
    disk = line.disk / 1_000_000
    return {
        "podId": line.machine.id, "startTime": iso(begins), "endTime": iso(begins + bucket_s),
        "totalAmount": gpu + disk, "gpuAmount": gpu, "cpuAmount": 0, "diskAmount": disk,
    }  # fmt: skip


def _moment(text: str | None, usual: float) -> float:
    return usual if text is None else datetime.fromisoformat(text).timestamp()


def _offers_cuda(row: dict, lowest: str) -> bool:
    def number(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split("."))

    return any(number(each["version"]) >= number(lowest) for each in row["cudaVersions"])


def check_create(body: dict) -> None:
    """Refuse what the schema does not know, as v2 does: 422 with every violation."""
    wrong = [f"unknown field {name!r}" for name in body if name not in CREATE_FIELDS]
    gpu = body.get("gpu")
    if not isinstance(gpu, dict) or "id" not in gpu:
        wrong.append("gpu.id is required")
    else:
        wrong += [f"unknown field 'gpu.{name}'" for name in gpu if name not in GPU_FIELDS]
        lowest = gpu.get("minCudaVersion", "12.4")
        if not re.fullmatch(r"\d+\.\d+", lowest):
            wrong.append("gpu.minCudaVersion must match ^\\d+\\.\\d+$")
    if not body.get("name") or len(body["name"]) > 191:
        wrong.append("name must have 1 to 191 characters")
    if "image" not in body and "templateId" not in body:
        wrong.append("image is required")
    if not all(isinstance(value, str) for value in (body.get("env") or {}).values()):
        wrong.append("env must hold strings")
    if not isinstance(body.get("disk", 1), int) or body.get("disk", 1) < 1:
        wrong.append("disk must be a whole number of at least 1")
    for port in body.get("ports", ()):
        if not re.fullmatch(r"\d+/(tcp|http|udp)", port):
            wrong.append(f"ports: {port!r} is not port/protocol")
    if wrong:
        raise Refused(422, "Request validation failed.", wrong)


def problem(refused: Refused) -> web.Response:
    """``application/problem+json``."""
    body = {"title": "Error", "status": refused.status, "detail": refused.detail}
    if refused.errors:
        body["errors"] = refused.errors
    headers = {"Retry-After": "7"} if refused.status == 429 else None
    return web.json_response(
        body, status=refused.status, headers=headers, content_type="application/problem+json"
    )


def reset(request: web.Request) -> web.Response:
    """Cut the connection without a byte."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
