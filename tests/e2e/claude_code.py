"""The real Claude Code client, headless, in a home and a working directory of its own."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Proxy, base_environment, llmctl_command, run

PACKAGES = Path(__file__).parent / "node_modules" / "@anthropic-ai"
# read while tests are collected: every test has an environment of its own
NAMED = os.environ.get("LLMCTL_TEST_CLAUDE")
ANSWER_S = 100.0
"""A run of a few turns takes one to three seconds, ten under load."""

MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


@pytest.fixture(scope="session")
def claude_binary() -> Path:
    """The client that ``tests/run`` installs, or ``LLMCTL_TEST_CLAUDE``; skips where it is missing.

    The native binary itself: ``.bin/claude`` is a stub where npm ran no install scripts.
    """
    candidates = [Path(NAMED)] if NAMED else _installed()
    for candidate in candidates:
        if _runs(candidate):
            return candidate
    if NAMED:
        pytest.fail(f"LLMCTL_TEST_CLAUDE={NAMED} cannot be run")
    found = f"what is there cannot be run: {candidates}" if candidates else "it is not installed"
    pytest.skip(
        f"NO TEST WITH THE REAL CLAUDE CODE CLIENT: {found}; "
        "npm install --prefix tests/e2e, or set LLMCTL_TEST_CLAUDE"
    )


def _installed() -> list[Path]:
    system = platform.system().lower()
    machine = MACHINES.get(platform.machine().lower(), platform.machine().lower())
    return sorted(PACKAGES.glob(f"claude-code-{system}-{machine}*/claude"))


def _runs(binary: Path) -> bool:
    try:
        said = subprocess.run([binary, "--version"], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return said.returncode == 0 and b"Claude Code" in said.stdout


@dataclass(frozen=True)
class Result:
    """How a headless run ended."""

    code: int
    value: dict[str, Any]
    """The client's ``result`` object."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """With ``stream-json`` everything before it."""

    @property
    def text(self) -> str:
        return str(self.value["result"])

    @property
    def ok(self) -> bool:
        # a failure of the API keeps the subtype "success"
        return self.code == 0 and not self.value["is_error"]

    def streamed(self) -> list[dict[str, Any]]:
        """The events of the Messages stream as the client heard them."""
        return [event["event"] for event in self.events if event["type"] == "stream_event"]


class ClaudeCode:
    """One user's client: its home keeps sessions, its working directory is empty at first."""

    def __init__(self, binary: Path, root: Path) -> None:
        self.binary = binary
        self.home = root / "claude-home"
        self.work = root / "work"
        self.work.mkdir(parents=True)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        # root may skip permissions in a sandbox only; in a test everybody is in one
        return {**base_environment(self.home), **variables, "IS_SANDBOX": "1"}

    def settle_in(self) -> None:
        """Answer beforehand what the interactive client asks a new user."""
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        known = {
            "hasCompletedOnboarding": True,
            "theme": "dark",
            "lastOnboardingVersion": "2.1.197",
            "bypassPermissionsModeAccepted": True,
            "projects": {str(self.work): {**trusted, "allowedTools": []}},
        }
        self.home.mkdir()
        (self.home / ".claude.json").write_text(json.dumps(known))

    async def ask(
        self,
        proxy: Proxy,
        prompt: str,
        *arguments: str,
        variables: Mapping[str, str] | None = None,
        stream: bool = False,
    ) -> Result:
        """Run one prompt with what ``llmctl env`` prints, or with other ``variables``."""
        if variables is None:
            variables = await proxy.client_variables()
        command = [str(self.binary), *_headless(prompt, stream=stream), *arguments]
        return await self._run(command, self.environment(variables))

    async def ask_through_llmctl(self, proxy: Proxy, prompt: str, *arguments: str) -> Result:
        """Run one prompt with ``llmctl claude``."""
        environment = self.environment(proxy.environment)
        environment |= {"HOME": str(self.home), "LLMCTL_CLAUDE": str(self.binary)}
        command = [*llmctl_command(), "claude", *_headless(prompt), *arguments]
        return await self._run(command, environment)

    async def _run(self, command: list[str], environment: Mapping[str, str]) -> Result:
        ended = await run(*command, environment=environment, cwd=self.work, within_s=ANSWER_S)
        lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
        assert lines and lines[-1]["type"] == "result", (ended.code, ended.stdout, ended.stderr)
        return Result(ended.code, lines[-1], lines[:-1])


def plain_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """What somebody sets who has only read that there is a base URL, a token and a model."""
    names = ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_MODEL")
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_TELEMETRY": "1"}
    return {name: variables[name] for name in names} | quiet


def _headless(prompt: str, *, stream: bool = False) -> list[str]:
    form = ["stream-json", "--verbose", "--include-partial-messages"] if stream else ["json"]
    return ["-p", prompt, "--dangerously-skip-permissions", "--output-format", *form]
