"""RunPod's GraphQL: the handful of fields that clients use, as the service answers them.

Refusals are HTTP 200 with ``errors``; a bad key is 401; arguments come as literals in the query
text (the official package) or as variables. Answers hold every field, whatever was selected.
"""

import re
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.emulators.market import Machine
from tests.emulators.runpod_pods import NO_CAPACITY, Refused, iso

MUTATIONS = {
    "podFindAndDeployOnDemand": "create",
    "podRentInterruptable": "create",
    "podStop": "stop",
    "podResume": "start",
    "podTerminate": "destroy",
}
QUERIES = {"gpuTypes": "catalog", "myself": "myself", "pod": "get"}
WENT_WRONG = "Something went wrong. Please try again later or contact support."
TOKEN = re.compile(r'\s*(?:("(?:[^"\\]|\\.)*")|([{}\[\]:(),])|([^\s{}\[\]:(),"]+))')


class GraphQl:
    """One endpoint over the emulator's pods."""

    def __init__(self, runpod: Any) -> None:
        self._runpod = runpod
        self._pods = runpod.pods
        self._market = runpod.market

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        query = body["query"]
        field = _field(query)
        mutation = field in MUTATIONS
        operation = "graphql_" + {**MUTATIONS, **QUERIES}.get(field, "unknown")
        method = "POST" if mutation else "GET"
        fault = self._market.record(operation, method, request.path)

        async def answered(_: web.Request) -> web.Response:
            return self._answered(request, field, _arguments(query, field, body))

        if fault in ("http_500", "http_503", "429"):
            # JSON without data or errors: the official package ends in a KeyError on it
            status = 429 if fault == "429" else int(fault[5:])
            return web.json_response({"message": "try again later"}, status=status)
        if fault == "no_data":
            return web.json_response({"message": "try again later"})
        if fault == "error":
            return _errors(WENT_WRONG, "INTERNAL_SERVER_ERROR")
        return await self._runpod.faulty(request, fault, answered)

    def _answered(self, request: web.Request, field: str, arguments: dict) -> web.Response:
        try:
            scope = None if field == "gpuTypes" else self._runpod.authorised(request)
            data = self._resolve(field, arguments, scope)
        except Refused as refused:
            if refused.status == 401:
                return web.Response(status=401, text="Unauthorized")
            code = "INTERNAL_SERVER_ERROR" if refused.status >= 500 else "BAD_REQUEST"
            return _errors(refused.detail, code)
        return web.json_response({"data": {field: data}})

    def _resolve(self, field: str, arguments: dict, scope: str | None) -> Any:
        wanted = arguments.get("input") or {}
        if field in ("podFindAndDeployOnDemand", "podRentInterruptable"):
            return self._create(field, wanted, scope)
        if field == "gpuTypes":
            return [self._gpu(gpu) for gpu in self._pods.gpus if wanted.get("id") in (None, gpu.id)]
        if field == "myself":
            return self._myself(scope)
        if field not in MUTATIONS and field != "pod":
            raise Refused(400, f'Cannot query field "{field}" on type "Query".')
        pod_id = wanted.get("podId")
        if scope not in (None, pod_id):
            raise Refused(403, "Unauthorized")
        machine = self._market.machine(pod_id or "")
        if field == "pod":
            return None if machine is None else self._pod(machine)
        if machine is None:
            raise Refused(500, WENT_WRONG)
        return self._change(field, machine)

    def _change(self, field: str, machine: Machine) -> dict | None:
        if field == "podTerminate":
            self._market.end(machine)
            return None
        if field == "podStop":
            self._pods.stop(machine)
        else:
            self._pods.start(machine)
        return self._pod(machine)

    def _create(self, field: str, wanted: dict, scope: str | None) -> dict:
        if scope is not None:
            raise Refused(403, "Unauthorized")
        if field == "podRentInterruptable":
            raise Refused(400, NO_CAPACITY)  # spot offers are listed but were never to be had
        body = {
            "name": wanted.get("name", ""),
            "image": wanted.get("imageName", ""),
            "gpu": {"id": wanted["gpuTypeId"], "count": wanted.get("gpuCount", 1)},
            "cloud": "COMMUNITY" if wanted.get("cloudType") == "COMMUNITY" else "SECURE",
            "disk": wanted.get("containerDiskInGb", 10),
            "args": wanted.get("dockerArgs", ""),
            "ports": [each for each in (wanted.get("ports") or "").split(",") if each],
            "env": {each["key"]: each["value"] for each in wanted.get("env") or []},
        }
        if wanted.get("dataCenterId"):
            body["dataCenterIds"] = [wanted["dataCenterId"]]
        if wanted.get("volumeInGb"):
            path = wanted.get("volumeMountPath", "/runpod-volume")
            body["mounts"] = {"persistent": {"size": wanted["volumeInGb"], "path": path}}
        machine = self._pods.create(body)
        if wanted.get("terminateAfter") and self._runpod.honour_terminate_after:
            text = wanted["terminateAfter"].replace("Z", "+00:00")
            machine.deadline = datetime.fromisoformat(text).timestamp()
        return self._pod(machine)

    def _myself(self, scope: str | None) -> dict:
        if scope is not None:
            raise Refused(403, "Unauthorized")
        ours = [m for m in self._market.live() if m.running]
        return {
            "id": "user_emulated",
            "clientBalance": self._market.credit / 1_000_000,
            "currentSpendPerHr": sum(m.running_price for m in ours) / 1_000_000,
            "spendLimit": 80,
            "pubKey": "\n".join(self._runpod.ssh_keys),
            "pods": [self._pod(machine) for machine in self._market.listed()],
            "networkVolumes": [
                {"id": v["id"], "name": v["name"], "size": v["size"],
                 "dataCenterId": v["dataCenter"]}
                for v in self._pods.volumes.values()
            ],
        }  # fmt: skip

    def _pod(self, machine: Machine) -> dict:
        shown = self._pods.shown(machine)
        runtime = shown["runtime"]
        if runtime is not None:
            rows = [
                {"ip": row["ip"], "isIpPublic": not row["ip"].startswith("100."),
                 "privatePort": row["private"], "publicPort": row["public"], "type": row["type"]}
                for row in runtime["ports"]
            ]  # fmt: skip
            runtime = {"uptimeInSeconds": runtime["uptime"], "ports": rows or None}
        return {
            "id": machine.id, "name": machine.label, "imageName": shown["image"],
            "desiredStatus": "RUNNING" if machine.running else "EXITED", "runtime": runtime,
            "costPerHr": machine.spec["gpu_price"] / 1_000_000,
            "containerDiskInGb": shown["disk"], "gpuCount": shown["gpu"]["count"],
            "env": [f"{k}={v}" for k, v in shown["env"].items()], "dockerArgs": shown["args"],
            "machineId": "mach01", "machine": {"podHostId": f"{machine.id}-64411eb2"},
            "createdAt": iso(machine.created_at), "ports": ",".join(shown["ports"]),
        }  # fmt: skip

    def _gpu(self, gpu: Any) -> dict:
        level = gpu.shown("SECURE")["availability"].capitalize()
        return {
            "id": gpu.id, "displayName": gpu.name, "memoryInGb": gpu.memory,
            "secureCloud": gpu.secure is not None, "communityCloud": gpu.community is not None,
            "securePrice": gpu.secure, "communityPrice": gpu.community, "maxGpuCount": 8,
            "lowestPrice": {
                "stockStatus": None if level == "None" else level,
                "uninterruptablePrice": gpu.secure, "minimumBidPrice": None,
            },
        }  # fmt: skip


def _errors(message: str, code: str) -> web.Response:
    error = {"message": message, "extensions": {"code": code}}
    return web.json_response({"errors": [error], "data": None})


def _field(query: str) -> str:
    """The first field of the operation."""
    found = re.search(r"\{\s*(\w+)", query)
    return found.group(1) if found else ""


def _arguments(query: str, field: str, body: dict) -> dict:
    """What the field is given: its variables, or the literals in the text."""
    if body.get("variables"):
        return body["variables"]
    found = re.search(rf"\b{field}\s*\(", query)
    if not found:
        return {}
    tokens = [m.group(1) or m.group(2) or m.group(3) for m in TOKEN.finditer(query, found.end())]
    return _object([*tokens], ")")


def _object(tokens: list[str], end: str) -> dict:
    result = {}
    while (name := tokens.pop(0)) != end:
        if name == ",":
            continue
        assert tokens.pop(0) == ":", f"a colon is missing after {name}"
        result[name] = _value(tokens)
    return result


def _value(tokens: list[str]) -> Any:
    token = tokens.pop(0)
    if token == "{":
        return _object(tokens, "}")
    if token == "[":
        items = []
        while tokens[0] != "]":
            if tokens[0] == ",":
                tokens.pop(0)
                continue
            items.append(_value(tokens))
        tokens.pop(0)
        return items
    if token.startswith('"'):
        return token[1:-1].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")
    words = {"true": True, "false": False, "null": None}
    if token in words:
        return words[token]
    return int(token) if re.fullmatch(r"-?\d+", token) else token
