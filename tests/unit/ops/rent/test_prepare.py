import asyncio

import pytest
from msgspec.structs import replace

from llmctl.config.schema import Config, OllamaConfig
from llmctl.core.errors import DeadlineExceeded, HostKeyChanged, RemoteFailed, SshError
from llmctl.core.rental import InstanceState, Phase, ProviderName, Rental, SshAddress, Step
from llmctl.ops.rent.arrival import HostFailed
from llmctl.ops.rent.launch import Launched, rent
from llmctl.ops.rent.login import Login
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.prepare import prepare
from llmctl.ssh.watchdog import Armed
from tests.unit.ops.rent.stage import ADDRESS, FACTS, Stage, a_spec

LOST = "lost the link"


async def running(stage: Stage, **changes):
    """Return a rental whose machine runs, and its plan."""
    plan = await plan_up(stage.world, a_spec(**changes))
    rental = stage.store.begin(plan.spec, ProviderName.VAST)
    return await rent(stage.world, rental, plan, Launched()), plan


async def prepared(stage: Stage, **changes):
    rental, plan = await running(stage, **changes)
    return await prepare(stage.world, rental, plan, instance_key="key")


async def test_every_phase_is_written_down_in_order(stage: Stage):
    made = (await prepared(stage)).rental
    phases = [entry.phase for entry in stage.store.journal(made.uuid)]
    assert list(dict.fromkeys(phases)) == [
        Phase.INTENT,
        Phase.CREATING,
        Phase.CREATED,
        Phase.REACHABLE,
        Phase.GUARDED,
        Phase.INSTALLED,
        Phase.PULLED,
        Phase.READY,
    ]


async def test_sshd_that_is_late_is_waited_for(stage: Stage):
    stage.machine.fails["reach"] = [SshError("connection refused")] * 20
    assert (await prepared(stage)).rental.phase is Phase.READY


async def test_but_not_for_ever(stage: Stage):
    stage.machine.fails["reach"] = [SshError("no banner")] * 10_000
    rental, plan = await running(stage)
    began = stage.clock.now()
    with pytest.raises(HostFailed, match="no banner"):
        await prepare(stage.world, rental, plan, instance_key=None)
    assert stage.clock.now() - began <= stage.world.config.wait.ssh_s


async def test_a_key_that_is_refused_at_first_may_still_arrive(stage: Stage):
    stage.machine.fails["reach"] = [SshError("refused our key", terminal=True)] * 5
    assert (await prepared(stage)).rental.phase is Phase.READY


async def test_a_key_that_stays_refused_is_the_machines_fault(stage: Stage):
    stage.machine.fails["reach"] = [SshError("refused our key", terminal=True)] * 1000
    rental, plan = await running(stage)
    began = stage.clock.now()
    with pytest.raises(HostFailed, match="refused our key"):
        await prepare(stage.world, rental, plan, instance_key=None)
    assert stage.clock.now() - began < 90


async def test_another_host_key_is_never_waited_for(stage: Stage):
    stage.machine.fails["reach"] = [HostKeyChanged("another key")]
    with pytest.raises(HostKeyChanged):
        await prepared(stage)
    assert stage.machine.calls == ["reach"]


async def test_an_address_that_comes_late_is_taken_up(stage: Stage):
    rental, plan = await running(stage)
    better = SshAddress(host="203.0.113.9", port=41000)
    stage.machine.fails["reach"] = [SshError("relay drops us")]
    stage.market.change(rental.instance_id, addresses=(better, ADDRESS))
    done = await prepare(stage.world, rental, plan, instance_key=None)
    assert stage.machine.logins[-1].addresses == (better, ADDRESS)
    assert done.rental.addresses == (better, ADDRESS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": InstanceState.FAILED, "detail": "OCI error"}, "has failed: OCI error"),
        ({"state": InstanceState.STOPPED}, "was stopped"),
        ({"state": InstanceState.STOPPED, "spot": True}, "was outbid"),
        ({"state": InstanceState.RUNNING, "fatal": True, "detail": "no address"}, "no address"),
    ],
)
async def test_a_machine_that_died_is_not_waited_for(stage: Stage, changes, words):
    rental, plan = await running(stage)
    stage.machine.fails["reach"] = [SshError("no banner")] * 1000
    stage.market.change(rental.instance_id, **changes)
    began = stage.clock.now()
    with pytest.raises(HostFailed, match=words):
        await prepare(stage.world, rental, plan, instance_key=None)
    assert stage.clock.now() - began < 10


@pytest.mark.parametrize("method", ["arm", "armed", "facts", "install", "serve", "pull", "warm"])
async def test_a_link_that_breaks_anywhere_is_made_anew(stage: Stage, method):
    stage.machine.fails[method] = [SshError(LOST), SshError(LOST)]
    done = await prepared(stage)
    assert done.rental.phase is Phase.READY
    assert len(stage.machine.logins) == 3
    assert stage.machine.calls.count("close") == 3


@pytest.mark.parametrize("method", ["arm", "facts", "install"])
async def test_a_link_that_stays_broken_early_is_the_machines_fault(stage: Stage, method):
    stage.machine.fails[method] = [SshError(LOST)] * 10_000
    with pytest.raises(HostFailed, match=LOST):
        await prepared(stage)


@pytest.mark.parametrize("method", ["facts", "install"])
async def test_but_never_that_of_a_machine_of_ones_own(stage: Stage, method):
    stage.machine.fails[method] = [SshError(LOST)] * 10_000
    spec = a_spec(providers=(ProviderName.HOST,), host=ADDRESS)
    plan = await plan_up(stage.world, spec)
    begun = stage.store.begin(spec, ProviderName.HOST)
    rental = stage.store.advance(begun.uuid, Phase.CREATED, addresses=(ADDRESS,))
    with pytest.raises(SshError, match=LOST):
        await prepare(stage.world, rental, plan, instance_key=None)


async def test_progress_keeps_a_long_pull_with_a_bad_link_alive(stage: Stage):
    rental, plan = await running(stage)
    host_pull_breaks = 40
    reach = stage.machine.reach
    done = 0

    async def bad_link(target):
        host = await reach(target)

        async def pull(model, report, *, insecure=False):
            nonlocal done
            done += 1
            report(Step(name="pull", state="progress", text="…", done_bytes=done * 1000))
            stage.clock.advance(100)
            if done < host_pull_breaks:
                raise SshError(LOST)
            return await type(host).pull(host, model, report)

        host.pull = pull
        return host

    stage.world.reach = bad_link
    assert (await prepare(stage.world, rental, plan, instance_key=None)).rental.model


async def test_a_pull_without_progress_ends(stage: Stage):
    stage.machine.fails["pull"] = [SshError(LOST)] * 10_000
    rental, plan = await running(stage)
    with pytest.raises(SshError, match=LOST):
        await prepare(stage.world, rental, plan, instance_key=None)


async def test_steps_of_the_machine_say_what_was_spent(stage: Stage):
    rental, plan = await running(stage)
    stage.clock.advance(600)
    await prepare(stage.world, rental, plan, instance_key=None)
    (pull,) = [step for step in stage.steps if step.done_bytes]
    assert pull.spent == pytest.approx(60_000, rel=0.1)


@pytest.mark.parametrize(
    ("armed", "words"),
    [
        (None, "said nothing"),
        (Armed(deadline=1.0, idle_s=3600, pid=1), "deadline of 1 instead of"),
        (Armed(deadline=-1.0, idle_s=0, pid=1), "idle limit of 0 s instead of 3600"),
    ],
)
async def test_what_the_watchdog_says_of_itself_counts(stage: Stage, armed, words):
    rental, plan = await running(stage)
    reach = stage.machine.reach

    async def odd(target):
        host = await reach(target)

        async def answers():
            right = armed is not None and armed.deadline == -1
            return replace(armed, deadline=rental.deadline) if right else armed

        host.armed = answers
        return host

    stage.world.reach = odd
    with pytest.raises(HostFailed, match=words):
        await prepare(stage.world, rental, plan, instance_key=None)
    assert stage.store.get(rental.uuid).phase is Phase.REACHABLE


async def test_less_memory_than_was_rented_is_refused(stage: Stage):
    half = replace(FACTS.gpus[0], memory_mib=12_000)
    stage.machine.facts = replace(FACTS, gpus=(half,))
    with pytest.raises(HostFailed, match="12 GiB of GPU memory, 24 GiB were rented"):
        await prepared(stage)


async def test_a_spill_is_cured_with_a_shorter_context(stage: Stage):
    stage.machine.spills_above = 40_000
    done = await prepared(stage)
    assert done.rental.num_ctx == done.fit.num_ctx == 32768
    assert [each.num_ctx for each in stage.machine.settings] == [65536, 49152, 32768]
    assert "only 75% of qwen3-coder is in GPU memory" in stage.warnings[0]


async def test_a_context_that_was_asked_for_stays_though_it_spills(stage: Stage):
    stage.machine.spills_above = 40_000
    done = await prepared(stage, num_ctx=65536)
    assert done.rental.num_ctx == 65536
    assert "slow" in stage.warnings[-1]


async def test_a_full_disk_is_told_before_the_pull(stage: Stage):
    stage.machine.facts = replace(FACTS, disk_free_bytes=5_000_000_000)
    with pytest.raises(RemoteFailed, match=r"takes 18.6 GB.* 5.0 GB left"):
        await prepared(stage)
    assert stage.machine.pulls == 0


async def test_a_model_that_is_there_needs_no_room_and_no_pull(stage: Stage):
    stage.machine.facts = replace(FACTS, disk_free_bytes=5_000_000_000)
    stage.machine.models = ["qwen3-coder"]
    assert (await prepared(stage)).rental.phase is Phase.READY
    assert stage.machine.pulls == 0
    assert any("was there already" in step.text for step in stage.steps)


async def test_an_install_that_takes_too_long_is_the_machines_fault(stage: Stage):
    stage.machine.fails["install"] = [DeadlineExceeded("took 900 s")]
    with pytest.raises(HostFailed, match="900 s"):
        await prepared(stage)


async def test_a_model_that_never_answers_is_said(stage: Stage):
    stage.machine.fails["warm"] = [DeadlineExceeded("900 s")]
    with pytest.raises(RemoteFailed, match="qwen3-coder did not answer: 900 s"):
        await prepared(stage)


async def test_what_is_installed_is_what_was_configured(tmp_path):
    config = Config(ollama=OllamaConfig(version="0.32.7", archive_url="http://mirror/o.tgz"))
    stage = Stage(tmp_path, config=config)
    seen = []
    reach = stage.machine.reach

    async def noting(target):
        host = await reach(target)

        async def install(wanted, _report):
            seen.append(wanted)
            return wanted.version

        host.install = install
        return host

    stage.world.reach = noting
    await prepared(stage)
    assert (seen[0].version, seen[0].url) == ("0.32.7", "http://mirror/o.tgz")
    stage.store.close()


async def test_a_cancelled_step_logs_out(stage: Stage):
    rental, plan = await running(stage)
    reach, waiting = stage.machine.reach, asyncio.Event()

    async def endless(target):
        host = await reach(target)

        async def facts():
            waiting.set()
            await asyncio.Event().wait()

        host.facts = facts
        return host

    stage.world.reach = endless
    work = prepare(stage.world, rental, plan, instance_key=None)
    task = asyncio.get_running_loop().create_task(work)
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.machine.calls[-1] == "close"


async def test_a_login_of_ones_own_machine_asks_no_market(stage: Stage):
    rental = Rental(
        uuid="0a" * 16,
        name="mine",
        provider=ProviderName.HOST,
        label="",
        phase=Phase.CREATED,
        created_at=0.0,
        spec=a_spec(),
        addresses=(ADDRESS,),
    )
    stage.machine.fails["reach"] = [SshError("refused our key", terminal=True)]
    async with Login(stage.world, rental) as login:
        with pytest.raises(SshError):
            await login.open(within_s=300)
    assert stage.machine.calls == ["reach"]
    assert stage.market.calls == []


async def test_an_engine_that_does_not_use_the_gpu_is_the_machines_fault(stage: Stage):
    stage.machine.gpu_used = False
    with pytest.raises(HostFailed, match="does not use the GPU"):
        await prepared(stage)
