import json
from collections.abc import AsyncGenerator

import pytest

from llmctl.core.errors import DeadlineExceeded, NotFound, RemoteFailed
from llmctl.core.rental import Step, StepState
from llmctl.ssh.pull import Pull
from llmctl.ssh.remote import HttpReply


def line(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def layer(digest: str, done: int, total: int = 100) -> bytes:
    return line(status=f"pulling {digest}", digest=digest, completed=done, total=total)


SUCCESS = line(status="success")


class Machine:
    """Gives out scripted answers to pulls; time passes with each line."""

    where = "root@box"

    def __init__(self, *pulls: list[bytes | Exception], step_s: float = 0.3) -> None:
        self.pulls = list(pulls)
        self.now = 0.0
        self.kept_at: list[float] = []
        self.pauses: list[float] = []
        self.bodies: list[dict] = []
        self._step_s = step_s
        self._there = False

    async def http(self, port, method, path, body=None, *, timeout_s) -> HttpReply:
        models = [{"name": "m:latest", "size": 7, "digest": "d"}] if self._there else None
        return HttpReply(status=200, body=json.dumps({"models": models}).encode())

    async def http_lines(self, port, path, body, *, idle_s) -> AsyncGenerator[bytes, None]:
        self.bodies.append(json.loads(body))
        for each in self.pulls.pop(0):
            self.now += self._step_s
            if isinstance(each, Exception):
                raise each
            self._there = self._there or each == SUCCESS
            yield each

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def keep_alive(self) -> None:
        self.kept_at.append(self.now)

    def pull(self, **options: object) -> tuple[Pull, list[Step]]:
        steps: list[Step] = []
        pull = Pull(
            self,
            11434,
            report=steps.append,
            keep_alive=self.keep_alive,
            sleep=self.sleep,
            clock=lambda: self.now,
            **options,
        )
        return pull, steps


async def test_progress_is_the_sum_of_the_layers() -> None:
    machine = Machine(
        [layer("a", 10), layer("b", 0, 50), layer("a", 100), layer("b", 50, 50), SUCCESS]
    )
    pull, steps = machine.pull(insecure=True)
    pulled = await pull.run("m")
    assert (pulled.name, pulled.bytes, pulled.digest) == ("m:latest", 7, "d")
    shown = [(step.done_bytes, step.total_bytes) for step in steps[1:]]
    assert shown == [(10, 100), (10, 150), (100, 150), (150, 150), (150, 150)]
    assert steps[3].bytes_per_s == pytest.approx(90 / 0.6)
    assert machine.bodies == [{"model": "m", "stream": True, "insecure": True}]


async def test_breaks_are_waited_out() -> None:
    machine = Machine(
        [layer("a", 10)],
        [RemoteFailed("the service broke off its answer")],
        [layer("a", 20), line(error="max retries exceeded: EOF")],
        [layer("a", 100), SUCCESS],
    )
    pull, steps = machine.pull()
    await pull.run("m")
    warnings = [step.text for step in steps if step.state is StepState.WARNING]
    assert len(warnings) == 3
    assert warnings[2].startswith("max retries exceeded: EOF")
    assert machine.pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("words", "kind", "says"),
    [
        ("pull model manifest: file does not exist", NotFound, "there is no model m"),
        ("invalid model name", NotFound, "there is no model m"),
        ("write /x: no space left on device", RemoteFailed, "the disk of root@box is full"),
        ("this model requires a newer version of Ollama", RemoteFailed, "newer version"),
    ],
)
async def test_what_is_not_tried_again(words: str, kind: type, says: str) -> None:
    for answer in ([line(error=words)], [RemoteFailed(f"POST /api/pull failed: {words}")]):
        machine = Machine(answer)
        pull, _ = machine.pull()
        with pytest.raises(kind, match=says):
            await pull.run("m")
        assert machine.pauses == []


async def test_standing_still_ends_it() -> None:
    machine = Machine([layer("a", 10)] * 100, step_s=1.0)
    pull, _ = machine.pull(still_s=20)
    with pytest.raises(DeadlineExceeded, match="no byte of m arrived on root@box for 20 s"):
        await pull.run("m")
    assert machine.now == pytest.approx(21, abs=1)


async def test_breaking_without_progress_ends_it_too() -> None:
    machine = Machine(*[[line(error="connection refused")]] * 100)
    pull, _ = machine.pull(still_s=30)
    with pytest.raises(DeadlineExceeded, match="for 30 s: connection refused"):
        await pull.run("m")
    assert max(machine.pauses) == 10.0


async def test_slow_but_moving_is_fine_and_keeps_the_machine_alive() -> None:
    machine = Machine([layer("a", done) for done in range(100)] + [SUCCESS], step_s=15.0)
    pull, _ = machine.pull(still_s=20)
    await pull.run("m")
    gaps = [b - a for a, b in zip(machine.kept_at, machine.kept_at[1:], strict=False)]
    assert gaps
    assert max(gaps) <= 45


async def test_half_a_line_is_a_break() -> None:
    machine = Machine([b'{"status":"pul'], [SUCCESS])
    pull, _ = machine.pull()
    await pull.run("m")
    assert machine.pauses == [0.5]


async def test_success_without_the_model_is_not_believed() -> None:
    machine = Machine([line(status="success", note="of something else")])
    pull, _ = machine.pull()
    with pytest.raises(RemoteFailed, match="is not listed"):
        await pull.run("m")
