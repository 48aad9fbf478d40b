"""vast.ai on loopback: its v0 and v1 API over one ``Market``, written from its documentation.

In a test::

    async with VastEmulator(Market(ManualClock())) as v:
        v.place(ssh_port=40022)  # where every machine's sshd is
        ...  # v.url, v.key, v.market, v.contracts

For a transcript, in a process of its own::

    python -m tests.emulators.vast --port 8900 --ssh-port 40022

Faults by operation (``market.faults.add("create", "http_500")``); operations are ``account``,
``keys``, ``add_key``, ``attach``, ``offers``, ``create``, ``list``, ``get``, ``stop``, ``start``,
``label``, ``reboot``, ``recycle``, ``destroy``, ``bid``, ``logs``, ``result``, ``charges``:

nothing is done    429 (text), 429_json, 429_retry_after, quota, http_500, http_502, http_503,
                   http_504, html, html_403, empty (``""``), null, old_schema, unauthorized,
                   forbidden, two_factor, reset_before, hang_before
it is done first   reset_after, hang_after, http_500_after, http_502_after, html_after, empty_after
create             offer_gone, offer_gone_404, offer_gone_410, no_funds, spend_limit, bad_request,
                   bid_low (a stopped contract is made all the same), silent_no (200 with
                   ``success: false``), and every fate
destroy            lies (says yes, keeps it), gone (404), refused (200 with ``success: false``)
start              gpu_taken (refused, and queued), queued_silently (says yes, and waits)
list               null_page (``instances`` is null though there are some)

A dictionary instead of a name is answered as it is.
"""

import argparse
import asyncio
import contextlib
import json
import secrets
from typing import Any

from aiohttp import web

from tests.emulators.market import Machine, Market
from tests.emulators.server import reset
from tests.emulators.vast_containers import ContractContainers
from tests.emulators.vast_contracts import (
    FATES,
    QUEUED,
    Contracts,
    Refused,
    charged,
    no_such_ask,
    no_such_instance,
)

__all__ = ["VastEmulator"]

BODY = web.RequestKey("body", dict)
ID = web.RequestKey("id", str)
FAULT = web.RequestKey("fault", object)
PAGE = 25
HTML = "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"
FREQUENT = "API requests too frequent"
OLD_SCHEMA = '{"instances": "", "offers": "", "id": "7", "new_contracts": [1]}'
INTERVALS = {
    "get": 2.0, "list": 1.0, "stop": 1.0, "start": 1.0, "label": 1.0, "destroy": 3.0,
    "create": 4.5, "reboot": 1.0, "keys": 1.0, "add_key": 1.0, "logs": 1.5, "charges": 1.0,
    "offers": 6.0,
}  # fmt: skip
REFUSALS = {
    "unauthorized": (404, "auth_error", "Invalid user key"),
    "forbidden": (403, "auth_error", "This key lacks the permission for this action."),
    "two_factor": (401, "auth_error", "Two Factor Authentication is required for this action."),
    "quota": (429, "search_quota_exceeded", "the daily search quota is used up"),
    "no_funds": (400, "insufficient_credit", "Your account lacks credit; see the billing page."),
    "spend_limit": (400, "spend_rate_limit", "The spend limit of new accounts is reached."),
    "bad_request": (400, "invalid_args", "error 400/3102: invalid_args  image is not valid"),
    "gone": (404, "no_such_instance", "Instance not found."),
}
STATUSES = {"http_500": 500, "http_502": 502, "http_503": 503, "http_504": 504}


class VastEmulator:
    """The service with one account, from ``async with`` on; ``url`` is its base."""

    def __init__(
        self,
        market: Market | None = None,
        *,
        key: str = "0123456789abcdef-account-key",
        run_onstart: bool = False,
        paced: bool = False,
        port: int = 0,
    ) -> None:
        self.market = market or Market()
        self.contracts = Contracts(self.market)
        self.key = key
        self.paced = paced
        """Whether the minimum interval between calls of one kind is enforced."""
        self.ssh_keys: list[dict] = []
        self.team = False
        """A team's key cannot have SSH keys."""
        self.url = ""
        self.results: dict[str, list[Any]] = {}
        """Uploaded logs by token: how often they are still missing, and the text."""
        self._port = port
        self._last: dict[str, float] = {}
        self.containers = ContractContainers(self) if run_onstart else None
        self.contracts.arms_deadlines = not run_onstart
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "VastEmulator":
        app = web.Application(client_max_size=4 * 2**20)
        app.router.add_route("*", "/{rest:.*}", self._edge)
        # handlers that hang notice at once when their client leaves
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        if self.containers is not None:
            self.containers.begin()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self.containers is not None:
            await self.containers.end()
        assert self._runner is not None
        await self._runner.cleanup()

    def place(
        self, *, ssh_port: int, host: str = "127.0.0.1", relay: tuple[str, int] | None = None
    ) -> None:
        """Say where every machine's sshd is; the relay leads nowhere unless it is given."""
        self.contracts.address_of = lambda machine: (host, ssh_port)
        self.contracts.relay_of = lambda machine: relay or ("127.0.0.1", 1)

    # Every request passes here.

    async def _edge(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/results/"):
            return self._result(request)
        try:
            operation, do = await self._operation(request)
            request[FAULT] = fault = self.market.record(operation, request.method, request.path)
            self._authorise(request, operation)
            self._pace(operation)
            return await self._faulty(request, fault, do)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)

    def _authorise(self, request: web.Request, operation: str) -> None:
        key = request.query.get("api_key", "")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        key = token if scheme == "Bearer" else key
        if not key:
            raise Refused(403, "auth_error", "This action requires login.")
        if key == self.key:
            return
        owner = next((m for m in self.market.live() if m.spec["key"] == key), None)
        if owner is None:
            raise Refused(404, "auth_error", "Invalid user key")
        allowed = operation in ("get", "stop", "start", "destroy")
        if not allowed or request[ID] != owner.id:
            raise Refused(403, "auth_error", "This key lacks the permission for this action.")

    def _pace(self, operation: str) -> None:
        now = self.market.clock.now()
        if self.paced and now - self._last.get(operation, 0.0) < INTERVALS.get(operation, 0.0):
            raise Refused(429, "too_many_requests", FREQUENT)
        self._last[operation] = now

    async def _operation(self, request: web.Request) -> tuple[str, Any]:
        """Return what is asked for, and the handler that does it."""
        parts = [part for part in request.path.split("/") if part]
        request[BODY] = await _json(request)
        request[ID] = next((part for part in parts if part.isdigit()), "")
        if parts[:1] != ["api"] or len(parts) < 3:
            raise Refused(404, "not_found", "no such path")
        shape = (request.method, parts[1], *("#" if part.isdigit() else part for part in parts[2:]))
        if shape == ("PUT", "v0", "instances", "#"):
            return self._change(request[BODY])
        if shape == ("GET", "v0", "instances"):
            raise Refused(410, "deprecated_endpoint", "Use /api/v1/instances/ instead.")
        found = self._operations().get(shape)
        if found is None:
            raise Refused(404, "not_found", "no such path")
        return found

    def _operations(self) -> dict[tuple[str, ...], tuple[str, Any]]:
        return {
            ("GET", "v0", "users", "current"): ("account", self._account),
            ("GET", "v0", "ssh"): ("keys", self._keys),
            ("POST", "v0", "ssh"): ("add_key", self._add_key),
            ("DELETE", "v0", "ssh", "#"): ("remove_key", self._remove_key),
            ("POST", "v0", "instances", "#", "ssh"): ("attach", self._attach),
            ("POST", "v0", "bundles"): ("offers", self._offers),
            ("PUT", "v0", "search", "asks"): ("offers", self._offers),
            ("PUT", "v0", "asks", "#"): ("create", self._create),
            ("GET", "v0", "instances", "#"): ("get", self._get),
            ("GET", "v1", "instances"): ("list", self._list),
            ("DELETE", "v0", "instances", "#"): ("destroy", self._destroy),
            ("PUT", "v0", "instances", "reboot", "#"): ("reboot", self._reboot),
            ("PUT", "v0", "instances", "recycle", "#"): ("recycle", self._recycle),
            ("PUT", "v0", "instances", "bid_price", "#"): ("bid", self._bid),
            ("PUT", "v0", "instances", "request_logs", "#"): ("logs", self._logs),
            ("GET", "v0", "charges"): ("charges", self._charges),
        }

    def _change(self, body: dict) -> tuple[str, Any]:
        if "label" in body:
            return "label", self._label
        if body.get("state") not in ("running", "stopped"):
            raise Refused(400, "invalid_args", f"unknown state {body.get('state')!r}")
        return ("stop", self._stop) if body["state"] == "stopped" else ("start", self._start)

    # Faults.

    async def _faulty(self, request: web.Request, fault: Any, do: Any) -> web.StreamResponse:
        early = await self._instead(request, fault)
        if early is not None:
            return early
        answer = do(request)
        if fault == "reset_after":
            reset(request)
            return web.Response()
        if fault == "hang_after":
            await asyncio.sleep(3600)
        if fault in ("http_500_after", "http_502_after"):
            return web.Response(text="Internal Server Error", status=int(fault[5:8]))
        if fault == "html_after":
            return web.Response(text=HTML, content_type="text/html")
        if fault == "empty_after":
            return web.json_response("")
        return web.json_response(answer)

    async def _instead(self, request: web.Request, fault: Any) -> web.Response | None:
        if isinstance(fault, dict):
            return web.json_response(fault)
        if fault in REFUSALS:
            raise Refused(*REFUSALS[fault])
        if fault == "429":
            return web.Response(text=FREQUENT, status=429)
        if fault == "429_json":
            detail = {"detail": f"{FREQUENT} endpoint threshold=2.0"}
            return web.json_response(detail, status=429)
        if fault == "429_retry_after":
            return web.Response(text=FREQUENT, status=429, headers={"Retry-After": "0.01"})
        if fault in STATUSES:
            return web.Response(text="Internal Server Error", status=STATUSES[fault])
        if fault in ("html", "html_403"):
            status = 403 if fault == "html_403" else 200
            return web.Response(text=HTML, content_type="text/html", status=status)
        texts = {"empty": '""', "null": "null", "old_schema": OLD_SCHEMA}
        if fault in texts:
            return web.Response(text=texts[fault], content_type="application/json")
        if fault == "reset_before":
            reset(request)
            return web.Response()
        if fault == "hang_before":
            await asyncio.sleep(3600)
        return None

    # The account.

    def _account(self, request: web.Request) -> dict:
        return {
            "id": 70_001, "email": "someone@example.org", "username": "someone", "sid": "x",
            "credit": self.market.credit / 1_000_000, "balance": -0.0004, "ssh_key": None,
            "api_key": self.key, "key_id": 12,
        }  # fmt: skip

    def _keys(self, request: web.Request) -> list[dict]:
        return self.ssh_keys

    def _add_key(self, request: web.Request) -> dict:
        text = request[BODY].get("ssh_key")
        if self.team:
            raise Refused(400, "team_ssh_keys_not_supported", "Teams have no SSH keys.")
        if not text:
            raise Refused(400, "no_ssh_key", "ssh_key is missing")
        key = {"id": 500 + len(self.ssh_keys), "user_id": 70_001, "public_key": text,
               "created_at": self.market.clock.now()}  # fmt: skip
        self.ssh_keys.append(key | {"deleted_at": None})
        return {"success": True, "key": key}

    def _remove_key(self, request: web.Request) -> dict:
        self.ssh_keys = [key for key in self.ssh_keys if str(key["id"]) != request[ID]]
        return {"success": True}

    def _attach(self, request: web.Request) -> dict:
        machine = self._machine(request)
        machine.spec["keys"].append(request[BODY]["ssh_key"])
        return {"success": True, "msg": "SSH key added"}

    def _charges(self, request: web.Request) -> dict:
        filters = json.loads(request.query.get("select_filters", "{}"))
        day = filters.get("day", {})
        if not {"gte", "lte"} <= set(day):
            raise Refused(400, "invalid_args", "day needs gte and lte")
        rows = [charged(line) for line in self.market.billing.lines(day["gte"], day["lte"])]
        limit = min(int(request.query.get("limit", 100)), 500)
        start = int(request.query.get("after_token", "0"))
        rest = rows[start : start + limit]
        token = str(start + limit) if start + limit < len(rows) else None
        return {"success": True, "count": len(rest), "total": len(rows), "next_token": token,
                "results": rest}  # fmt: skip

    # Offers and contracts.

    def _offers(self, request: web.Request) -> dict:
        body = request[BODY]
        return {"offers": self.contracts.search(body.get("q", body))}

    def _create(self, request: web.Request) -> dict:
        fault, ask = request[FAULT], int(request[ID])
        if fault in ("offer_gone", "offer_gone_404"):
            raise no_such_ask(ask, 404 if fault.endswith("404") else 400)
        if fault == "offer_gone_410":
            raise Refused(410, "no_such_ask", "error 410/3907: no_such_ask  not startable")
        if fault == "silent_no":
            return {"success": False, "error": "invalid_args", "msg": "try another"}
        body = dict(request[BODY])
        if fault == "bid_low":
            body["price"] = 0.0001
        machine = self.contracts.create(ask, body, fault if fault in FATES else None)
        machine.spec["keys"] = [key.get("public_key") or key.get("key") for key in self.ssh_keys]
        return {
            "success": True,
            "new_contract": int(machine.id),
            "instance_api_key": machine.spec["key"],
        }

    def _get(self, request: web.Request) -> dict:
        machine = self.market.machine(request[ID])
        return {"instances": None if machine is None else self.contracts.shown(machine)}

    def _list(self, request: web.Request) -> dict:
        filters = json.loads(request.query.get("select_filters", "{}"))
        limit = int(request.query.get("limit", PAGE))
        if limit > PAGE or not set(filters) <= {"label", "actual_status", "id", "gpu_name"}:
            raise Refused(400, "invalid_args", "limit or select_filters cannot be used")
        machines = sorted(self.market.listed(), key=lambda machine: int(machine.id))
        rows = [self.contracts.shown(machine) for machine in machines]
        for name, condition in filters.items():
            rows = [row for row in rows if row[name] == condition.get("eq")]
        start = int(request.query.get("after_token", "0"))
        page = rows[start : start + limit]
        token = str(start + limit) if start + limit < len(rows) else None
        return {
            "success": True,
            "instances_found": len(page),
            "total_instances": len(rows),
            "label_counts": {},
            "next_token": token,
            "instances": None if request[FAULT] == "null_page" else page,
        }

    def _stop(self, request: web.Request) -> dict:
        self.contracts.stop(self._machine(request))
        return {"success": True}

    def _start(self, request: web.Request) -> dict:
        machine = self._machine(request)
        if request[FAULT] in ("gpu_taken", "queued_silently"):
            self.contracts.queue(machine)
            silent = request[FAULT] == "queued_silently"
            return {"success": True} if silent else {"success": False, "msg": QUEUED}
        self.contracts.start(machine)
        return {"success": True}

    def _label(self, request: web.Request) -> dict:
        self._machine(request).label = request[BODY]["label"]
        return {"success": True, "msg": "label set"}

    def _reboot(self, request: web.Request) -> dict:
        self._machine(request)
        return {"success": True}

    def _recycle(self, request: web.Request) -> dict:
        self.contracts.recycle(self._machine(request))
        return {"success": True}

    def _bid(self, request: web.Request) -> dict:
        self._machine(request).spec["bid"] = request[BODY]["price"]
        return {"success": True}

    def _destroy(self, request: web.Request) -> dict:
        machine = self._machine(request)
        if request[FAULT] == "refused":
            return {"success": False, "error": "busy", "msg": "try again later"}
        if request[FAULT] != "lies":
            self.market.end(machine)
        return {"success": True, "msg": f"destroying {machine.id}"}

    def _logs(self, request: web.Request) -> dict:
        machine = self._machine(request)
        tail = int(request[BODY].get("tail", "1000"))
        token = secrets.token_hex(8)
        self.results[token] = [1, "\n".join(machine.spec["lines"][-tail:]) + "\n"]
        return {"success": True, "result_url": f"{self.url}/results/{token}"}

    def _result(self, request: web.Request) -> web.Response:
        """Like the storage the logs are uploaded to: 403 before, and no business of the key."""
        fault = self.market.record("result", request.method, request.path)
        missing = self.results.get(request.path.rpartition("/")[2])
        if "Authorization" in request.headers or missing is None or fault == "never":
            return web.Response(status=403)
        missing[0] -= 1
        return web.Response(status=403) if missing[0] >= 0 else web.Response(text=missing[1])

    def _machine(self, request: web.Request) -> Machine:
        machine = self.market.machine(request[ID])
        if machine is None:
            raise no_such_instance(request[ID])
        return machine


async def _json(request: web.Request) -> Any:
    text = await request.text()
    return json.loads(text) if text else {}


async def _serve(arguments: argparse.Namespace) -> None:
    vast = VastEmulator(run_onstart=arguments.run_onstart, port=arguments.port)
    vast.contracts.schedule_s, vast.contracts.pull_s, vast.contracts.create_s = 1.0, 2.0, 0.5
    if arguments.ssh_port:
        vast.place(ssh_port=arguments.ssh_port)
    async with vast:
        print(f"export VAST_URL={vast.url} VAST_API_KEY={vast.key}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="vast.ai on loopback, in real time")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ssh-port", type=int, help="where every machine's sshd is")
    parser.add_argument("--run-onstart", action="store_true", help="really run start scripts")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
