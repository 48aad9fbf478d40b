"""One generation and its listeners: who hears what, who waits for whom, and how it ends."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.protocol import sse
from llmctl.protocol.anthropic import ThinkingConfig
from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.proxy.broadcast import BACKLOG_BYTES, LAG_BYTES
from llmctl.proxy.silence import SILENCE
from tests.clocks import ManualClock
from tests.unit.protocol.streams import (
    TOOLS,
    accumulated,
    call,
    done,
    sse_events,
    without_ids,
)
from tests.unit.proxy.stage import Client, Stage, settle, until
from tests.unit.proxy.wire import virtually

# -- who hears what

SAID = st.one_of(
    st.sampled_from(["a ", "b", "é", "\n", "<", "tool_call>", "{", " "]).map(
        lambda text: EngineChunk(text=text)
    ),
    st.just(EngineChunk(thinking="hm ")),
    st.just(EngineChunk(tool_calls=(call("Read", file_path="/a"),))),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), SAID),
        st.tuples(st.just("join"), st.none()),
        st.tuples(st.sampled_from(["leave", "stop", "flow"]), st.integers(0, 3)),
        st.tuples(st.just("settle"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_whoever_stays_hears_the_same_whenever_they_joined(steps):
    asyncio.run(play(steps))


async def play(steps) -> None:
    stage = Stage(tools=TOOLS, thinking=ThinkingConfig(type="enabled"))
    generation = stage.generation
    stage.engine.may_open.clear()
    clients = [stage.start()]
    for step, what in steps:
        if step == "say":
            stage.engine.may_open.set()
            stage.engine.say(what)
        elif step == "join":
            clients.append(Client(generation))
        elif step == "settle":
            await settle()
        elif what < len(clients) and (step != "leave" or len(clients) > 1):
            client = clients[what]
            if step == "leave":
                clients.remove(client)
                await client.leave()
            else:
                client.flows.clear() if step == "stop" else client.flows.set()
    stage.engine.may_open.set()
    stage.engine.say(done(), None)
    await settle()
    clients.append(Client(generation)) if not generation.ended else None
    for client in clients:
        client.flows.set()
    await asyncio.gather(*(client.task for client in clients))
    told = [accumulated(client.stream) for client in clients]
    assert all(message == told[0] for message in told)
    whole = without_ids(accumulated(generation.replay().sse()))
    assert [block for block in told[0]["content"] if block.get("text", "x")] == whole["content"]
    assert generation.ended
    assert stage.engine.closed
    assert len(stage.ends) == 1


async def test_what_is_said_goes_straight_to_a_client_that_keeps_up():
    stage = Stage()
    client = stage.start()
    await settle()
    stage.engine.say(*["token "] * 5, done(), None)
    await client.task
    assert client.straight == 6
    assert accumulated(client.stream)["content"] == [{"type": "text", "text": "token " * 5}]


async def test_what_is_being_written_comes_before_what_is_said_meanwhile():
    stage = Stage()
    client = stage.start()
    await settle()
    client.flows.clear()
    stage.engine.say("one ")
    await settle()  # taken, and the write waits
    stage.engine.say("two")
    client.flows.set()  # heard by the engine's task first
    stage.engine.say(done(), None)
    await client.task
    assert accumulated(client.stream)["content"] == [{"type": "text", "text": "one two"}]


async def test_nothing_overtakes_what_waits():
    listener = Stage().generation.join(frames=True)
    straight: list[sse.Frame] = []
    takes = False

    def deliver(frames: list[sse.Frame]) -> bool:
        straight.extend(frames if takes else [])
        return takes

    listener.deliver_with(deliver)
    listener.push([b"one"], 3)
    takes = True
    listener.push([b"two"], 3)
    assert (straight, listener.backlog) == ([], 6)
    assert await listener.next() == [b"one", b"two"]
    assert listener.backlog == 0


async def test_a_listener_without_frames_only_waits_for_the_end():
    stage = Stage()
    client = stage.start()
    whole = stage.generation.join(frames=False)
    ending = asyncio.get_running_loop().create_task(whole.end())
    stage.engine.say("one")
    await settle()
    assert not ending.done()
    assert whole.backlog == 0
    stage.engine.say(done(), None)
    await asyncio.gather(ending, client.task)
    assert stage.generation.message.content[0].text == "one"


@pytest.mark.parametrize("prompt_tokens", [None, 30])
async def test_it_knows_whether_the_engine_has_counted(prompt_tokens):
    stage = Stage()
    client = stage.start()
    counts = {} if prompt_tokens is None else {"prompt_tokens": prompt_tokens}
    stage.engine.say("x", done(**counts), None)
    await client.task
    assert stage.generation.counted is (prompt_tokens is not None)
    assert stage.generation.complete


async def test_a_prompt_that_was_sampled_in_a_hurry_is_measured_once_more():
    stage = Stage()
    tokens = stage.generation.prompt_tokens
    assert [tokens(hurry=True), tokens(hurry=True), tokens(), tokens(hurry=True)] == [6, 6, 7, 7]
    assert stage.hurries == [True, False]


async def test_a_prompt_nobody_counted_is_reported_as_measured_without_hurry():
    stage = Stage()
    assert stage.generation.prompt_tokens(hurry=True) == 6
    client = stage.start()
    stage.engine.say("x", done(), None)
    await client.task
    assert stage.generation.message.usage.input_tokens == 7


# -- silence


@virtually
async def test_ten_minutes_of_silence_are_filled_as_the_client_needs_it(clock: ManualClock) -> None:
    stage = Stage(clock=clock, ping_s=SILENCE.ping_s)
    client = stage.start()
    await asyncio.sleep(600)
    stage.engine.say("At last.", done(), None)
    await client.task
    events = sse_events(client.stream)
    deltas = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(deltas) == "At last."
    silence = [when - 1000.0 for when, _ in client.times][:-1]
    gaps = [after - before for before, after in pairwise([0.0, *silence, 600.0])]
    assert max(gaps) <= 10
    # only events other than pings reset the second of the client's limits, 300 s
    real = [when - 1000.0 for when, data in client.times if b"text_delta" in data]
    assert 120 <= real[0] <= 130
    assert max(after - before for before, after in pairwise(real)) <= 10


@virtually
async def test_words_put_the_next_ping_off(clock: ManualClock) -> None:
    stage = Stage(clock=clock, ping_s=8.0)
    client = stage.start()
    for pause_s in (7.9, 7.9, 8.1, 15.9, 16.1):
        await asyncio.sleep(pause_s)
        stage.engine.say("word ")
    stage.engine.say(done(), None)
    await client.task
    pings = [when - 1000.0 for when, data in client.times if b"ping" in data]
    assert pings == pytest.approx([23.8, 31.9, 47.8, 55.8], abs=0.1)


@virtually
async def test_one_who_joins_in_the_silence_gets_the_block_that_is_open(clock: ManualClock) -> None:
    stage = Stage(clock=clock, ping_s=8.0)
    first = stage.start()
    await asyncio.sleep(200)
    late = Client(stage.generation)
    stage.engine.say("Hello", done(), None)
    await asyncio.gather(first.task, late.task)
    assert accumulated(late.stream) == accumulated(first.stream)
    assert b"ping" not in late.stream


@virtually
async def test_after_the_end_nobody_is_left_who_could_say_more(clock: ManualClock) -> None:
    stage = Stage(clock=clock, ping_s=8.0)
    client = stage.start()
    stage.engine.say("x", done(), None)
    await client.task
    await asyncio.sleep(1000)
    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- slow listeners


async def test_a_slow_listener_does_not_slow_the_other():
    stage = Stage()
    fast = stage.start()
    slow = Client(stage.generation)
    await settle()
    slow.flows.clear()
    words = 4 * BACKLOG_BYTES // 1000
    stage.engine.say(*["x" * 1000] * words)
    await until(lambda: stage.engine.read == words)
    assert len(slow.heard) < len(fast.heard)
    slow.flows.set()
    stage.engine.say(done(), None)
    await asyncio.gather(fast.task, slow.task)
    assert accumulated(slow.stream) == accumulated(fast.stream)


async def test_the_engine_is_read_no_further_when_everybody_is_slow():
    stage = Stage()
    clients = [stage.start(), Client(stage.generation)]
    await settle()
    for client in clients:
        client.flows.clear()
    stage.engine.say(*["x" * 1000] * 2000)
    await settle()
    await until(lambda: all(one.listener.backlog > BACKLOG_BYTES for one in clients))
    for _ in range(100):
        await settle()
    stopped_at = stage.engine.read
    assert stopped_at < 2 * BACKLOG_BYTES // 1000
    clients[0].flows.set()
    await until(lambda: stage.engine.read == 2000)
    stage.engine.say(done(), None)
    clients[1].flows.set()
    await asyncio.gather(*(client.task for client in clients))
    assert accumulated(clients[0].stream) == accumulated(clients[1].stream)


async def test_the_engine_is_read_on_when_the_only_slow_one_leaves():
    stage = Stage()
    slow = stage.start()
    whole = stage.generation.join(frames=False)
    await settle()
    slow.flows.clear()
    stage.engine.say(*["x" * 1000] * 500, done(), None)
    await until(lambda: stage.generation.ended)
    await slow.leave()
    await whole.end()
    assert len(stage.generation.message.content[0].text) == 500_000


async def test_one_who_falls_far_behind_the_others_is_given_up():
    stage = Stage()
    fast = stage.start()
    slow = Client(stage.generation)
    await settle()
    slow.flows.clear()
    megabytes = LAG_BYTES // 1_000_000 + 5
    stage.engine.say(*["x" * 1_000_000] * megabytes)
    await until(lambda: stage.engine.read == megabytes)
    assert slow.listener.backlog <= LAG_BYTES + 2_000_000
    slow.flows.set()
    with pytest.raises(ConnectionResetError):
        await slow.task
    stage.engine.say(done(), None)
    await fast.task
    assert accumulated(fast.stream)["stop_reason"] == "end_turn"


async def test_a_late_joiner_is_not_given_up_for_what_was_said_before():
    stage = Stage()
    first = stage.start()
    megabytes = LAG_BYTES // 1_000_000 + 5
    stage.engine.say(*["x" * 1_000_000] * megabytes)
    await until(lambda: stage.engine.read == megabytes)
    late = Client(stage.generation)
    await settle()
    stage.engine.say(done(), None)
    await asyncio.gather(first.task, late.task)
    assert accumulated(late.stream) == accumulated(first.stream)


# -- ends


@pytest.mark.parametrize("opened", [True, False])
async def test_it_ends_when_the_last_one_has_left(opened):
    stage = Stage()
    if not opened:
        stage.engine.may_open.clear()
    clients = [stage.start(), Client(stage.generation)]
    await settle()
    await clients[0].leave()
    assert not stage.generation.abandoned
    await clients[1].leave()
    assert stage.generation.abandoned
    await until(lambda: stage.generation.ended)
    await settle()
    assert stage.engine.closed is opened
    assert len(stage.ends) == 1
    assert stage.generation.message is None
    with pytest.raises(ApiError):
        stage.generation.replay()


@virtually
async def test_one_that_is_left_before_its_first_step_ends_as_well(clock: ManualClock) -> None:
    stage = Stage(clock=clock, ping_s=8.0)
    stage.generation.start(stage.tasks)
    stage.generation.leave(stage.generation.join(frames=True))
    await stage.tasks.idle()
    assert stage.generation.ended
    assert len(stage.ends) == 1
    await asyncio.sleep(100)
    assert not stage.generation.begun, "its heartbeat goes on"


@pytest.mark.parametrize("settled", [True, False])
async def test_an_abort_tells_everybody_why(settled):
    stage = Stage()
    clients = [stage.start(), Client(stage.generation)]
    whole = stage.generation.join(frames=False)
    if settled:
        stage.engine.say("some words")
        await settle()
    stage.generation.abort(overloaded("going down"))
    stage.generation.abort(overloaded("a second time"))
    await asyncio.gather(*(client.task for client in clients), whole.end())
    for client in clients:
        last = sse_events(client.stream)[-1]
        assert last["error"] == {"type": "overloaded_error", "message": "going down"}
    await settle()
    assert stage.engine.closed is settled
    assert stage.generation.error.message == "going down"
    assert len(stage.ends) == 1


@pytest.mark.parametrize("said", [(), ("some words",)])
async def test_a_failing_engine_is_an_error_for_everybody(said):
    stage = Stage()
    clients = [stage.start(), Client(stage.generation)]
    stage.engine.say(*said, ApiError(502, "it broke"))
    await asyncio.gather(*(client.task for client in clients))
    assert all(sse_events(one.stream)[-1]["error"]["message"] == "it broke" for one in clients)
    assert stage.generation.begun is bool(said)
    assert stage.engine.closed
    assert not stage.generation.complete


async def test_a_bug_behind_it_is_a_500_and_not_a_silent_end(caplog):
    stage = Stage()
    client = stage.start()
    stage.engine.say("x", RuntimeError("a bug"))
    await client.task
    await settle()
    assert stage.generation.error.status == 500
    assert sse_events(client.stream)[-1]["type"] == "error"
    assert "a bug" in caplog.text


async def test_whoever_is_told_of_the_end_cannot_keep_the_engine_open(caplog):
    stage = Stage()

    def fail(*_) -> None:
        raise RuntimeError("the cache has a bug")

    stage.generation._on_end = fail
    client = stage.start()
    stage.engine.say("x", done(), None)
    await client.task
    await settle()
    assert accumulated(client.stream)["content"] == [{"type": "text", "text": "x"}]
    assert stage.engine.closed
    assert "the cache has a bug" in caplog.text


async def test_a_stop_sequence_ends_it_before_the_engine_does():
    stage = Stage(stop_sequences=["END"])
    client = stage.start()
    stage.engine.say("one END two")
    await client.task
    assert accumulated(client.stream)["stop_sequence"] == "END"
    await settle()
    assert stage.engine.closed
    assert stage.generation.complete


async def test_what_is_rendered_for_those_who_want_it_whole_is_rendered_once():
    stage = Stage()
    client = stage.start()
    stage.engine.say("x", done(), None)
    await client.task
    assert stage.generation.replay() is stage.generation.replay()
