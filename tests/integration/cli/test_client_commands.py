"""`env`, `claude`, `health` and `stats` as processes, against real HTTP on loopback."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from llmctl.config.secrets import TokenStore
from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.usage import Usage
from llmctl.ledger.queries import LedgerSummary
from llmctl.ledger.totals import Totals
from llmctl.ledger.writer import LedgerWriter

MODEL = {
    "type": "model",
    "id": "claude",
    "engine_model": "qwen3-coder:30b",
    "max_input_tokens": 32768,
}
HEALTH = {
    "status": "ok",
    "version": "0.1.0",
    "uptime_s": 61.0,
    "backends": [{"name": "ollama:http://gpu:11434", "kind": "ollama", "healthy": True}],
    "cache": {"kind": "memory", "healthy": True},
    "ledger": None,
}
STATS = LedgerSummary(
    since=None,
    until=None,
    total=Totals(requests=3, prompt_tokens=60),
    errors={},
    by_cache={},
    by_model={"qwen3-coder:30b": Totals(requests=3, prompt_tokens=60)},
    by_backend={},
    by_tenant={},
)
CLIENT = """#!/bin/sh
printf 'argument:%s\\n' "$@"
env | grep -E '^(ANTHROPIC|CLAUDE|API|NO_PROXY|no_proxy)'
exit 42
"""


class Proxy(ThreadingHTTPServer):
    """Says what a running proxy would, to whoever sends its token."""

    daemon_threads = True

    def __init__(self, token):
        super().__init__(("127.0.0.1", 0), Answering)
        self.token = token
        self.health = HEALTH
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.headers["x-api-key"] != self.server.token:
            return self._send(401, b"{}")
        if self.path.startswith("/v1/models/claude"):
            return self._send(200, json.dumps(MODEL).encode())
        if self.path == "/health":
            return self._send(200, json.dumps(self.server.health).encode())
        return self._send(200, msgspec.json.encode(STATS))

    def _send(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def token():
    _, token = TokenStore(find_paths(os.environ).data).load_or_create()
    return token.reveal()


@pytest.fixture
def proxy(token, monkeypatch):
    with Proxy(token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("LLMCTL_SERVE_PORT", str(server.server_address[1]))
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def no_proxy_answers(monkeypatch):
    """An address nobody listens at."""
    with Proxy("") as server:
        monkeypatch.setenv("LLMCTL_SERVE_PORT", str(server.server_address[1]))
    return server.url


def llmctl(*arguments, **variables):
    return subprocess.run(
        [sys.executable, "-m", "llmctl", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=False,
        timeout=60,
    )


class TestEnv:
    def test_a_shell_that_evaluates_it_has_every_variable(self, proxy, token):
        found = llmctl("env")
        assert (found.returncode, found.stderr) == (0, "")
        shell = subprocess.run(
            ["sh", "-c", 'eval "$1"; env', "sh", found.stdout],
            capture_output=True,
            text=True,
            check=True,
        )
        variables = dict(line.partition("=")[::2] for line in shell.stdout.splitlines())
        as_json = json.loads(llmctl("env", "--json").stdout)
        assert as_json.items() <= variables.items()
        assert as_json["ANTHROPIC_BASE_URL"] == proxy.url
        assert as_json["ANTHROPIC_AUTH_TOKEN"] == token
        assert as_json["ANTHROPIC_MODEL"] == "qwen3-coder:30b"
        assert as_json["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "49864"

    def test_other_shells(self, proxy, token):
        fish = llmctl("env", "--shell", "fish").stdout.splitlines()
        assert f"set -gx ANTHROPIC_AUTH_TOKEN '{token}'" in fish
        powershell = llmctl("env", "--shell", "powershell").stdout.splitlines()
        assert "$env:ANTHROPIC_API_KEY = ''" in powershell
        assert len(fish) == len(powershell) == len(json.loads(llmctl("env", "--json").stdout))

    @pytest.mark.skipif(not shutil.which("fish"), reason="no fish here")
    def test_fish_itself(self, proxy, token):
        script = llmctl("env", "--shell", "fish").stdout + "echo $ANTHROPIC_AUTH_TOKEN"
        shown = subprocess.run(["fish", "-c", script], capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == token

    def test_without_a_proxy_it_guesses_and_says_so(self, no_proxy_answers, token):
        settings = {"LLMCTL_MODEL_NAME": "qwen", "LLMCTL_MODEL_NUM_CTX": "4096"}
        found = llmctl("env", **settings)
        assert found.returncode == 0
        assert found.stderr == (
            f"warning: no proxy answers at {no_proxy_answers} (LLMCTL_SERVE_PORT): connection "
            "refused; model and context are from the configuration\n"
        )
        variables = json.loads(llmctl("env", "--json", **settings).stdout)
        assert variables["ANTHROPIC_BASE_URL"] == no_proxy_answers
        assert variables["ANTHROPIC_AUTH_TOKEN"] == token
        assert variables["ANTHROPIC_MODEL"] == "qwen"
        assert variables["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "16072"

    def test_before_the_first_start_there_is_no_token(self, no_proxy_answers):
        assert "no token is known for" in llmctl("env").stderr
        assert llmctl("env", "--quiet").stderr == ""

    def test_the_address_may_be_in_the_shell_already(self, proxy, token):
        shell = {
            "LLMCTL_SERVE_PORT": "",
            "ANTHROPIC_BASE_URL": proxy.url,
            "LLMCTL_HOME": "/nowhere",
        }
        found = llmctl("env", "--json", ANTHROPIC_AUTH_TOKEN=token, **shell)
        assert json.loads(found.stdout)["ANTHROPIC_AUTH_TOKEN"] == token

    def test_a_wrong_token_is_not_worked_around(self, proxy):
        found = llmctl("env", LLMCTL_AUTH_TOKEN="wrong")
        assert (found.returncode, found.stdout) == (4, "")
        assert found.stderr.startswith(f"error: the proxy at {proxy.url} refused our token\n")

    def test_a_token_file_others_can_read_is_refused(self, proxy, token):
        path = find_paths(os.environ).data / "token"
        path.chmod(0o644)
        found = llmctl("env", "--json")
        error = json.loads(found.stderr)["error"]
        assert (found.returncode, found.stdout) == (4, "")
        assert error["hint"] == f"chmod 600 {path}"
        assert token not in found.stderr

    def test_http_proxies_are_not_asked(self, proxy, token):
        found = llmctl(
            "env", "--json", HTTP_PROXY="http://127.0.0.1:9", http_proxy="http://127.0.0.1:9"
        )
        assert json.loads(found.stdout)["NO_PROXY"] == "127.0.0.1,localhost,::1"
        assert found.stderr == ""


class TestClaude:
    @pytest.fixture
    def client(self, tmp_path, monkeypatch):
        path = tmp_path / "bin" / "claude"
        path.parent.mkdir()
        path.write_text(CLIENT)
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
        return path

    @pytest.mark.parametrize(
        "arguments", [["-p", "Say hello"], ["--help"], ["--", "-v", "--json"], ["--version"]]
    )
    def test_it_becomes_the_client(self, proxy, token, client, arguments):
        found = llmctl("claude", *arguments, ANTHROPIC_API_KEY="sk-ant-else")
        lines = found.stdout.splitlines()
        assert (found.returncode, found.stderr) == (42, "")
        assert [line for line in lines if line.startswith("argument:")] == [
            f"argument:{argument}" for argument in arguments
        ]
        assert f"ANTHROPIC_BASE_URL={proxy.url}" in lines
        assert f"ANTHROPIC_AUTH_TOKEN={token}" in lines
        assert "ANTHROPIC_API_KEY=" in lines
        assert "CLAUDE_CODE_MAX_CONTEXT_TOKENS=49864" in lines

    def test_a_window_too_small_for_it_is_told_before(self, proxy, client, monkeypatch):
        monkeypatch.setitem(MODEL, "max_input_tokens", 8192)
        found = llmctl("claude", "-p", "x")
        assert found.returncode == 42
        assert found.stderr.startswith("warning: the context served is 8,192 tokens, and Claude")
        assert llmctl("claude", "--bare", "-p", "x").stderr == ""

    def test_no_proxy_no_start(self, no_proxy_answers, client):
        found = llmctl("claude", "-p", "x")
        assert (found.returncode, found.stdout) == (6, "")
        assert found.stderr.endswith("connection refused\n\nhint: llmctl serve\n")

    def test_a_client_the_kernel_refuses(self, proxy, client):
        client.write_bytes(b"\x00\x01")
        found = llmctl("claude")
        assert found.returncode == 1
        assert found.stderr.startswith(f"error: cannot run {client}: Exec format error")


class TestHealth:
    def test_healthy(self, proxy):
        found = llmctl("health")
        assert (found.returncode, found.stderr) == (0, "")
        lines = found.stdout.splitlines()
        assert [line.split()[:3] for line in lines[:4]] == [
            ["ok", "proxy", proxy.url],
            ["ok", "auth", str(find_paths(os.environ).data / "token")],
            ["ok", "cache", "memory"],
            ["ok", "backend", "ollama:http://gpu:11434"],
        ]
        assert lines[-1] == "healthy"
        document = json.loads(llmctl("health", "--json").stdout)
        assert document.items() >= HEALTH.items()
        assert document["healthy"] is True
        assert llmctl("health", "--quiet").stdout == ""

    def test_down(self, proxy):
        proxy.health = {**HEALTH, "status": "down"}
        assert llmctl("health").returncode == 3
        found = llmctl("health", "--json")
        assert (found.returncode, json.loads(found.stdout)["status"]) == (3, "down")

    def test_one_part_that_is_unwell_is_enough(self, proxy):
        cache = {"kind": "redis", "healthy": False, "location": "redis://h/0", "detail": "gone"}
        proxy.health = {**HEALTH, "status": "degraded", "cache": cache}
        found = llmctl("health")
        assert found.returncode == 3
        assert "fix: redis-cli -u redis://h/0 ping\n" in found.stdout
        assert found.stdout.endswith("1 of 4 are not well\n")

    def test_without_a_proxy_it_looks_at_what_serve_would_use(self, no_proxy_answers):
        found = llmctl("health", OLLAMA_HOST="http://127.0.0.1:9")
        assert (found.returncode, found.stderr) == (3, "")
        lines = found.stdout.splitlines()
        assert lines[0].split()[:3] == ["bad", "proxy", no_proxy_answers]
        assert lines[1].strip() == "fix: llmctl serve"
        assert "connection refused" in lines[0]
        assert [line.split()[1] for line in lines[2:5]] == ["cache", "ledger", "backend"]
        assert lines[5].strip().startswith("fix: ollama serve  # or: llmctl serve --backend")
        document = json.loads(llmctl("health", "--json").stdout)
        assert (document["status"], document["healthy"]) == ("unreachable", False)
        assert not find_paths(os.environ).state.exists()

    def test_a_refused_token_is_a_link_of_its_own(self, proxy):
        found = llmctl("health", LLMCTL_AUTH_TOKEN="wrong")
        assert found.returncode == 3
        lines = found.stdout.splitlines()
        assert lines[0].split()[:2] == ["ok", "proxy"]
        assert lines[1].split()[:2] == ["bad", "auth"]
        assert lines[2].strip().startswith("fix: export LLMCTL_AUTH_TOKEN=")

    def test_a_dead_redis_is_told_once(self, no_proxy_answers):
        found = llmctl("health", REDIS_URL="redis://127.0.0.1:9/0")
        assert found.stderr == ""
        assert found.stdout.count("fix: redis-cli -u redis://127.0.0.1:9/0 ping\n") == 1

    def test_a_damaged_record_of_what_is_rented(self, proxy):
        path = find_paths(os.environ).rentals_file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"this is no database, and long enough to be looked at" * 20)
        found = llmctl("health")
        assert found.returncode == 3
        assert "the record of what is rented cannot be kept" in found.stdout
        found = llmctl("doctor", "--quiet")
        assert "bad  instance" in found.stdout

    def test_a_damaged_ledger_while_the_proxy_is_down(self, no_proxy_answers):
        path = find_paths(os.environ).ledger_file
        path.parent.mkdir(parents=True)
        path.write_bytes(b"this is no database, and long enough to be looked at" * 20)
        document = json.loads(llmctl("health", "--json").stdout)
        (ledger,) = [each for each in document["links"] if each["kind"] == "ledger"]
        assert ledger["state"] == "bad"
        assert "damaged" in ledger["trouble"]


class TestStats:
    @pytest.fixture
    async def ledger(self):
        path = find_paths(os.environ).ledger_file
        ledger = LedgerWriter(path, clock=SystemClock())
        await ledger.start()
        for at in (time.time(), time.time() - 7 * 86_400):
            ledger.append(Usage(at=at, request_id="req_1", tenant="local", model_asked="qwen"))
        await ledger.close()
        return path

    async def test_the_file_is_read_whatever_the_proxy_does(self, no_proxy_answers, ledger):
        found = llmctl("stats", "--json")
        report = json.loads(found.stdout)
        assert (found.returncode, found.stderr) == (0, "")
        assert (report["total"]["requests"], report["source"]) == (2, str(ledger))
        assert "requests     2" in llmctl("stats").stdout

    async def test_ranges_and_groups(self, ledger):
        assert llmctl("stats", "--by", "model", "--since", "24h").stdout.splitlines()[1].split()[
            :2
        ] == ["qwen", "1"]
        report = json.loads(llmctl("stats", "--by", "day", "--json").stdout)
        assert [period["total"]["requests"] for period in report["periods"]] == [1, 1]
        assert llmctl("stats", "--by", "hour", "--csv").stdout.count("\n") == 2
        assert llmctl("stats", "--since", "2020-01-01", "--until", "2021-01-01").stdout == (
            "no requests\n"
        )

    def test_without_a_file_the_proxy_is_asked(self, proxy):
        assert "qwen3-coder:30b" in llmctl("stats").stdout
        report = json.loads(llmctl("stats", "--since", "24h", "--json").stdout)
        assert (report["total"]["requests"], report["source"]) == (3, proxy.url)

    async def test_a_proxy_that_is_named_is_asked(self, proxy, ledger):
        report = json.loads(llmctl("stats", "--url", proxy.url, "--json").stdout)
        assert report["total"]["requests"] == 3

    def test_neither_proxy_nor_file(self, no_proxy_answers):
        found = llmctl("stats")
        assert found.returncode == 5
        assert "connection refused\n\nhint: `llmctl serve` begins one" in found.stderr

    def test_warnings_are_json_as_well(self, no_proxy_answers):
        warnings = [json.loads(line) for line in llmctl("env", "--json").stderr.splitlines()]
        assert [entry["level"] for entry in warnings] == ["warning", "warning"]
