"""Every example of every ``--help``, typed into a shell in a terminal as it stands there.

What stands for something of the reader's own (an address, an id) is put in its place, questions
are answered, and what would go on for ever is ended with Ctrl-C once it works. A new example of a
command is run without further ado.
"""

import asyncio
import json
import os
import pty
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command_tree import leaves
from tests.emulators.ollama import Answer, OllamaEmulator

pytestmark = pytest.mark.e2e

ENDS_S = 90.0
FLOW = ("up", "down", "stop", "start", "ssh", "logs", "tunnel", "instance", "model")
"""Commands about machines, whose examples need each other."""
SERVED = ("serve", "env", "claude", "health", "doctor", "bench", "stats", "ui", "cache")
"""Those about a running proxy."""


@dataclass(frozen=True)
class Way:
    """How one example is run."""

    typed: str = ""
    """Answers to what it asks."""
    asked: str = ""
    """What it says before it listens to them; without this they may be there already."""
    until: str = ""
    """What it says before it is ended with Ctrl-C."""
    codes: tuple[int, ...] = (0,)
    shell: tuple[str, ...] = ("bash", "--norc", "-o", "pipefail")


RUN = Way()
YES = Way(typed="y\n")
KEY = Way(typed="a-key-of-mine\n", asked="not shown")
WAYS = {
    "llmctl serve": Way(until="Claude Code"),
    "llmctl serve main": Way(until="Claude Code"),
    "llmctl serve --backend ollama:http://10.0.0.5:11434 --model qwen3-coder:30b": Way(
        until="Claude Code"
    ),
    "llmctl tunnel": Way(until="http://127.0.0.1"),
    "llmctl health --watch --json": Way(until="}"),
    "llmctl stats --watch": Way(until="queued"),
    "llmctl ssh": Way(typed="exit\n"),
    "llmctl down --all": YES,
    "llmctl env --shell fish | source": Way(shell=("fish", "--no-config")),
    "llmctl cache clear": YES,
    "llmctl cache clear --drop-key": YES,
    "llmctl token remove ada": YES,
    "llmctl auth login runpod": KEY,
    # 3 is its finding: this machine is not what it would like
    "llmctl doctor": Way(codes=(0, 3)),
    "llmctl doctor --quiet": Way(codes=(0, 3)),
    "llmctl doctor --json": Way(codes=(0, 3)),
}
NOT_RUN = {
    "llmctl serve --backend embedded --port 8080": "fetches a model of half a gigabyte",
    "llmctl env --shell powershell | Out-String | Invoke-Expression": "needs PowerShell",
}


def examples_of(*groups: str) -> list[str]:
    return [
        example
        for leaf in leaves()
        if leaf.path[0] in groups
        for example in leaf.examples
        if example not in NOT_RUN
    ]


class Shell:
    """Bash in a terminal, with ``llmctl`` and what examples name on its PATH."""

    def __init__(self, street, tmp_path: Path) -> None:
        self.tools = tmp_path / "tools"
        self.tools.mkdir()
        self.home = tmp_path / "reader"
        for directory in (
            ".local/share/bash-completion/completions",
            ".zfunc",
            ".config/fish/completions",
            "dotfiles",
        ):
            (self.home / directory).mkdir(parents=True)
        self.tool("llmctl", f'exec "{sys.executable}" -m llmctl "$@"')
        self.environment = {
            **os.environ,
            **street.environment,
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "TERM": "xterm-256color",
            "LLMCTL_SERVE_PORT": "0",
        }
        self.ran: set[str] = set()
        """Examples that ended as they should."""
        self.values: dict[str, str] = {}
        """What stands in an example → what is put there."""

    def tool(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    async def run(self, example: str, way: Way = RUN) -> str:
        """Run one example to its end, and return what the terminal showed."""
        line = example
        for shown, real in self.values.items():
            line = line.replace(shown, real)
        terminal, other = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *way.shell, "-c", line,
            stdin=other, stdout=other, stderr=other,
            env=self.environment, cwd=self.home, start_new_session=True,
        )  # fmt: skip
        os.close(other)
        said, typed = "", way.typed.encode()
        try:
            async with asyncio.timeout(ENDS_S):
                if not way.asked:
                    os.write(terminal, typed)
                while piece := await asyncio.to_thread(read, terminal):
                    said += piece
                    if way.asked and way.asked in said and typed:
                        os.write(terminal, typed)
                        typed = b""
                    if way.until and way.until in said:
                        os.killpg(process.pid, signal.SIGINT)
                        way = Way()
                code = await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"{line} does not end\n{said}") from None
        finally:
            os.close(terminal)
        assert not way.until, f"{line} never said {way.until!r}\n{said}"
        self.checked(line, code, said, way)
        self.ran.add(example)
        return said

    @staticmethod
    def checked(line: str, code: int, said: str, way: Way) -> None:
        assert code in way.codes, f"{line} ended with {code}\n{said}"
        assert "Traceback" not in said, f"{line}\n{said}"

    async def run_all(self, examples: list[str]) -> None:
        for example in examples:
            if can_run(example):
                await self.run(example, WAYS.get(example, RUN))


def can_run(example: str) -> bool:
    """Whether its shell is on this machine."""
    return shutil.which(WAYS.get(example, RUN).shell[0]) is not None


def read(terminal: int) -> str:
    try:
        return os.read(terminal, 65_536).decode(errors="replace")
    except OSError:  # nobody has the other end any more
        return ""


@pytest.fixture
def shell(street, tmp_path):
    return Shell(street, tmp_path)


async def test_examples_that_need_no_proxy_and_no_machine(shell):
    shell.tool("pass", "echo a-key-of-mine")
    shell.tool("nano", "exit 0")
    shell.environment |= {"VISUAL": "true"}
    known = {leaf.path[0] for leaf in leaves()}
    examples = examples_of(*(known - set(FLOW) - set(SERVED)))
    examples.sort(key=lambda example: " config set" not in example)  # then there is a file
    removing = "llmctl token remove ada --yes"
    await shell.run_all([each for each in examples if " auth log" not in each and each != removing])
    await shell.run_all(["llmctl token add ada", removing])
    shell.environment |= {"VAST_API_KEY": "", "RUNPOD_API_KEY": ""}
    await shell.run_all([each for each in examples if " auth login" in each])
    await shell.run("llmctl auth login vast", KEY)
    await shell.run_all(["llmctl auth logout vast", "llmctl auth logout runpod --quiet"])
    assert set(filter(can_run, examples)) <= shell.ran


async def test_examples_about_a_running_proxy(shell, street):
    shell.tool("claude", 'echo "the client was started with $*"')
    shell.tool("xdg-open", "exit 0")
    (shell.home / "prompts.jsonl").write_text(
        json.dumps(
            {
                "model": "claude-sonnet-4-5",
                "max_tokens": 99,
                "messages": [{"role": "user", "content": "How do I undo a commit?"}],
            }
        )
    )
    async with OllamaEmulator(Answer("Git revert undoes a commit.")) as engine:
        shell.values = {"ollama:http://10.0.0.5:11434": f"ollama:{engine.url}"}
        shell.environment["OLLAMA_HOST"] = engine.url
        await shell.run_all([each for each in examples_of("serve") if "main" not in each])
        serving = await street.start(
            "serve", "--port", "0", "--json", "--backend", f"ollama:{engine.url}"
        )
        try:
            banner = b""
            while not banner.rstrip().endswith(b"\n}"):
                banner += await asyncio.wait_for(serving.stdout.readline(), 60)
            shell.environment["LLMCTL_SERVE_PORT"] = json.loads(banner)["url"].rpartition(":")[2]
            await proxy_examples(shell)
        finally:
            serving.send_signal(signal.SIGTERM)
            await serving.communicate()
    on_a_machine = {"llmctl serve main", "llmctl bench main --max-time 2m --max-cost 0.05"}
    assert set(filter(can_run, examples_of(*SERVED))) - shell.ran <= on_a_machine


async def proxy_examples(shell: Shell) -> None:
    examples = examples_of(*SERVED)
    await shell.run("llmctl cache warm prompts.jsonl")
    listed = json.loads((await shell.run("llmctl cache list --json")).replace("\r\n", "\n"))
    shell.values |= {"5f0c2a9d41be": entry_id(listed)}
    last = [each for each in examples if " cache forget" in each or " cache clear" in each]
    main = [each for each in examples if re.search(r"\bmain\b", each)]
    serves = [each for each in examples if "llmctl serve" in each]
    await shell.run_all([each for each in examples if each not in [*last, *main, *serves]])
    await shell.run("llmctl cache forget 5f0c2a9d41be")
    await shell.run("llmctl cache forget 5f0c2a9d41be --json", Way(codes=(0, 5)))
    await shell.run_all([each for each in last if " cache clear" in each])


def entry_id(listed) -> str:
    rows = listed if isinstance(listed, list) else listed["entries"]
    return rows[0]["id"]


class Tour:
    """A series of examples, which may not leave one out."""

    def __init__(self, shell: Shell, examples: list[str]) -> None:
        self._shell = shell
        self.left = set(examples)
        """Those that have not been run."""

    async def run(self, *examples: str, way: Way | None = None) -> None:
        for example in examples:
            self.left.discard(example)
            await self._shell.run(example, way or WAYS.get(example, RUN))


def about_trust(example: str) -> bool:
    return " instance trust" in example


@pytest.mark.timeout(300)
async def test_examples_on_a_machine_that_is_ready(shell, street):
    trust = [each for each in examples_of("instance") if about_trust(each)]
    others = ["llmctl serve main", "llmctl bench main --max-time 2m --max-cost 0.05"]
    tour = Tour(shell, [*examples_of("ssh", "logs", "model", "tunnel"), *trust, *others])
    shell.values = {"gpt-oss:20b": "tiny:latest"}
    await street.ok("up", "--provider", "vast", "--yes")
    models = examples_of("model")
    await tour.run(*examples_of("ssh", "logs"))
    await tour.run(*(each for each in models if "remove" not in each))
    await tour.run("llmctl model remove qwen2.5-coder:7b", way=YES)
    await tour.run("llmctl model pull qwen2.5-coder:7b")
    await tour.run("llmctl model remove qwen2.5-coder:7b --instance main --yes")
    await tour.run(*others, *examples_of("tunnel"), *trust)
    assert tour.left == set()


@pytest.mark.timeout(300)
async def test_examples_that_rent_and_end(shell, street, tmp_path):
    instances = [each for each in examples_of("instance") if not about_trust(each)]
    tour = Tour(shell, [*examples_of("up", "down", "stop", "start"), *instances])
    shell.values = {"me@192.0.2.7": f"{street.sshd.user}@127.0.0.1:{street.sshd.port}"}
    await tour.run("llmctl up --provider runpod", "llmctl stop", "llmctl start", way=YES)
    await tour.run("llmctl stop main --yes", "llmctl start main --yes")
    await tour.run("llmctl down", way=YES)
    driver = tmp_path / "machine" / "bin" / "nvidia-smi"
    card = driver.read_text()
    driver.write_text(card.replace("RTX 4090, 24564", "H100 PCIe, 97871"))
    await tour.run("llmctl up --gpu h100 --max-price 3 --ttl 4h", way=YES)
    driver.write_text(card)
    await tour.run("llmctl down main --yes")
    await tour.run("llmctl up --provider host --host me@192.0.2.7", "llmctl down --all")
    await tour.run("llmctl up big --profile fast --dry-run")
    await of_another_installation(shell, street, tour.run, tmp_path)
    assert tour.left == set()


async def of_another_installation(shell, street, run, tmp_path) -> None:
    """Show, adopt and destroy what was rented from elsewhere with the same key."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(street.home / "data" / "ssh", elsewhere / "data" / "ssh")
    await street.ok("up", "--provider", "vast", "--yes", LLMCTL_HOME=str(elsewhere))
    (machine,) = street.vast.market.ours()
    shell.values |= {"vast:123456": f"vast:{machine.id}", "123456": str(machine.id)}
    await run(*(each for each in examples_of("instance") if re.search("list|show|dry-run", each)))
    await run("llmctl instance adopt vast:123456 big")
    # what is adopted has its engine on the port that Ollama has by itself: perhaps taken here
    shell.values["llmctl up big"] = "llmctl up big --dry-run"
    await run("llmctl up big")
    await run("llmctl instance destroy vast:123456", way=YES)
    assert street.vast.market.ours() == street.runpod.market.ours() == []
