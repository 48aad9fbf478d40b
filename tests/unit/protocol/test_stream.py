import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol import sse, stream
from llmctl.protocol.anthropic import (
    OutputConfig,
    OutputFormat,
    TextBlock,
    ThinkingBlock,
    ThinkingConfig,
    TokenUsage,
    ToolChoice,
    ToolUseBlock,
)
from llmctl.protocol.calls import UNPARSED
from llmctl.protocol.engine import UNSAID, EngineChunk, EngineDone
from llmctl.protocol.errors import ApiError
from llmctl.protocol.events import (
    BlockStopped,
    Failed,
    Finished,
    InputAdded,
    Ping,
    TextAdded,
    TextStarted,
    ThinkingAdded,
    ToolUseStarted,
)
from llmctl.protocol.stream import Composer
from tests.unit.protocol.streams import (
    TOOLS,
    accumulated,
    call,
    cuts,
    done,
    pieces,
    request,
    sse_events,
    stream_of,
    text_chunks,
    texts_and_calls,
    told,
)

THINKING = ThinkingConfig(type="adaptive")
READ = "<function=Read>\n<parameter=file_path>\n/a\n</parameter>\n</function>"


def compose(chunks, *, input_tokens=7, **fields):
    """Run chunks through and return the composer and its message."""
    composer = Composer(request(**fields), input_tokens=input_tokens)
    sse_events(told(composer, chunks))
    return composer, composer.message("m")


def test_text_is_said_token_by_token():
    composer = Composer(request(), input_tokens=7)
    assert composer.feed([EngineChunk(text="He")]) == [TextStarted(0), TextAdded(0, "He")]
    assert composer.feed([EngineChunk(text="llo"), done(prompt_tokens=9, completion_tokens=2)]) == [
        TextAdded(0, "llo")
    ]
    usage = TokenUsage(input_tokens=9, output_tokens=2)
    assert composer.finish() == [
        BlockStopped(0),
        Finished(stop_reason="end_turn", stop_sequence=None, usage=usage),
    ]
    assert composer.message("m").content == [TextBlock(text="Hello")]
    assert composer.complete


def test_text_is_not_withheld_because_there_are_tools():
    composer = Composer(request(tools=TOOLS), input_tokens=7)
    for char in "Let me see: a < b, {x} `y` <z>":
        said = composer.feed([EngineChunk(text=char)])
        assert said != [] or char in "< "
    assert "".join(event.text for event in said if isinstance(event, TextAdded)) == ">"


def test_a_tool_call_is_whole_and_closed_at_once():
    composer = Composer(request(tools=TOOLS), input_tokens=7)
    composer.feed([EngineChunk(text="I read.")])
    assert composer.feed([EngineChunk(tool_calls=(call("read", file_path="/ä"), call("Odd")))]) == [
        BlockStopped(0),
        ToolUseStarted(1, "Read"), InputAdded(1, '{"file_path":"/ä"}'), BlockStopped(1),
        ToolUseStarted(2, "Odd"), InputAdded(2, "{}"), BlockStopped(2),
    ]  # fmt: skip
    assert composer.finish()[-1].stop_reason == "tool_use"


def test_order_within_a_chunk_is_thinking_text_calls():
    everything = EngineChunk(
        thinking="hm", text="so", tool_calls=(call("Read"),), done=EngineDone(reason="stop")
    )
    _, message = compose([everything], tools=TOOLS, thinking=THINKING)
    assert message.content == [
        ThinkingBlock(thinking="hm"),
        TextBlock(text="so"),
        ToolUseBlock(id="", name="Read", input={}),
    ]


@pytest.mark.parametrize("thinking", [None, ThinkingConfig(type="disabled")])
def test_thinking_nobody_asked_for_is_dropped(thinking):
    chunks = [EngineChunk(thinking="hm"), EngineChunk(text="so"), done(completion_tokens=2)]
    _, message = compose(chunks, thinking=thinking)
    assert message.content == [TextBlock(text="so")]
    assert message.usage.output_tokens == 2


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([EngineChunk(text="a"), done("stop")], "end_turn"),
        ([EngineChunk(text="a"), done("load")], "end_turn"),
        ([EngineChunk(text="a"), done("length")], "max_tokens"),
        ([EngineChunk(tool_calls=(call("Read"),)), done("stop")], "tool_use"),
        ([EngineChunk(tool_calls=(call("Read"),)), done("length")], "tool_use"),
        ([EngineChunk(text="a"), done("tool_calls")], "end_turn"),
    ],
)
def test_stop_reasons(chunks, reason):
    assert compose(chunks, tools=TOOLS)[1].stop_reason == reason


@given(cuts)
def test_a_stop_sequence_ends_the_answer_right_before_it(where):
    text = "one\n\ntwo STO STOP three"
    chunks = [EngineChunk(text=piece) for piece in pieces(text, where)]
    composer, message = compose([*chunks, done()], stop_sequences=["STOP", "Human:"], tools=TOOLS)
    assert composer.stop_matched
    assert message.content == [TextBlock(text="one\n\ntwo STO ")]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "STOP")
    assert composer.complete


def test_a_held_back_beginning_of_a_stop_sequence_is_said_in_the_end():
    for last in (done(), EngineChunk(tool_calls=(call("Read"),))):
        _, message = compose([EngineChunk(text="two STO"), last], stop_sequences=["STOP"])
        assert message.content[0] == TextBlock(text="two STO")


def test_a_stop_sequence_at_once_leaves_nothing_to_say():
    composer, message = compose([EngineChunk(text="STOP")], stop_sequences=["STOP"])
    assert (message.content, message.stop_reason) == ([], "stop_sequence")
    assert not composer.complete


def test_a_tool_call_before_a_stop_sequence_is_still_to_be_run():
    chunks = [EngineChunk(tool_calls=(call("Read"),)), EngineChunk(text="x STOP")]
    _, message = compose(chunks, stop_sequences=["STOP"], tools=TOOLS)
    assert (message.stop_reason, message.stop_sequence) == ("tool_use", None)


@pytest.mark.parametrize(
    ("chunks", "said", "reason"),
    [
        ([done()], stream.NOTHING_SAID, "end_turn"),
        ([EngineChunk(text=" \n"), done()], stream.NOTHING_SAID, "end_turn"),
        ([EngineChunk(thinking="hm"), done()], stream.ONLY_THOUGHT, "end_turn"),
        ([done("length")], stream.NOTHING_YET, "max_tokens"),
        ([EngineChunk(thinking="hm"), done("length")], stream.NOTHING_YET, "max_tokens"),
        ([done(completion_tokens=400)], stream.CALL_LOST, "max_tokens"),
        ([done("length", completion_tokens=400)], stream.CALL_LOST, "max_tokens"),
    ],
)
@pytest.mark.parametrize("thinking", [None, THINKING])
def test_an_empty_answer_says_why_and_is_not_kept(chunks, said, reason, thinking):
    composer, message = compose(chunks, tools=TOOLS, thinking=thinking)
    assert texts_and_calls(message.content) == [said]
    assert message.stop_reason == reason
    assert not composer.complete


def test_a_lost_call_behind_text_asks_the_client_to_go_on():
    text = text_chunks("I will write the file now.")
    composer, message = compose([*text, done(completion_tokens=300)], tools=TOOLS)
    assert texts_and_calls(message.content) == ["I will write the file now."]
    assert message.stop_reason == "max_tokens"
    assert not composer.complete


@pytest.mark.parametrize(
    ("chunks", "counts"),
    [
        (text_chunks("I read it.", 1), {"completion_tokens": 40}),
        ([EngineChunk(text="語" * 300)], {"completion_tokens": 450}),
        ([EngineChunk(text="word " * 300)], {"completion_tokens": 300}),
        ([EngineChunk(thinking="word " * 300), EngineChunk(text="a")], {"completion_tokens": 320}),
        ([EngineChunk(text="a")], {"completion_tokens": 500, "hidden_tokens": 490}),
        ([EngineChunk(text="a")], {}),
        ([EngineChunk(tool_calls=(call("Read"),))], {"completion_tokens": 500}),
    ],
)
def test_ordinary_counts_are_no_lost_call(chunks, counts):
    _, message = compose([*chunks, done(**counts)], tools=TOOLS)
    assert message.stop_reason in {"end_turn", "tool_use"}


def test_without_tools_no_call_can_be_lost():
    _, message = compose([EngineChunk(text="a"), done(completion_tokens=500)])
    assert message.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("last", "usage"),
    [
        (
            done(prompt_tokens=30, cached_prompt_tokens=20, completion_tokens=5),
            TokenUsage(input_tokens=10, output_tokens=5, cache_read_input_tokens=20),
        ),
        (
            done(prompt_tokens=3, cached_prompt_tokens=20, completion_tokens=5),
            TokenUsage(input_tokens=0, output_tokens=5, cache_read_input_tokens=3),
        ),
        (done(completion_tokens=5), TokenUsage(input_tokens=7, output_tokens=5)),
        (done(prompt_tokens=30), TokenUsage(input_tokens=30, output_tokens=4)),
    ],
)
def test_usage_is_the_engines_or_the_best_guess(last, usage):
    assert compose([*text_chunks("eleven char"), last])[1].usage == usage


def test_tokens_that_came_in_one_piece_are_guessed_from_their_length():
    _, message = compose([EngineChunk(text="x" * 600), done()])
    assert message.usage.output_tokens == 100


@given(cuts)
def test_a_call_written_as_text_becomes_a_call(where):
    text = f"I read.\n\n{READ}\n</tool_call>"
    chunks = [EngineChunk(text=piece) for piece in pieces(text, where)]
    composer, message = compose([*chunks, done()], tools=TOOLS)
    assert texts_and_calls(message.content) == ["I read.\n\n", ("Read", {"file_path": "/a"})]
    assert message.stop_reason == "tool_use"
    assert composer.complete


def test_text_held_back_as_a_possible_call_comes_before_a_real_one():
    _, message = compose(
        [EngineChunk(text="see <func"), EngineChunk(tool_calls=(call("Read"),))], tools=TOOLS
    )
    assert texts_and_calls(message.content) == ["see <func", ("Read", {})]


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": ToolChoice(type="none")}])
def test_without_tools_nothing_is_taken_for_a_call(fields):
    assert texts_and_calls(compose([EngineChunk(text=READ)], **fields)[1].content) == [READ]


def test_where_json_was_asked_for_it_streams_as_text():
    config = OutputConfig(format=OutputFormat(type="json_schema", schema={}))
    composer = Composer(request(tools=TOOLS, output_config=config), input_tokens=7)
    assert composer.feed([EngineChunk(text='{"name"')])[-1] == TextAdded(0, '{"name"')


FORCED = [ToolChoice(type="any"), ToolChoice(type="tool", name="Bash")]


@pytest.mark.parametrize("choice", FORCED)
def test_a_forced_call_is_made_of_the_text(choice):
    text = '\n{"name": "Bash", "arguments": {"command": "ls"}}'
    composer, message = compose([*text_chunks(text), done()], tools=TOOLS, tool_choice=choice)
    assert texts_and_calls(message.content) == [("Bash", {"command": "ls"})]
    assert message.stop_reason == "tool_use"
    assert composer.complete


@pytest.mark.parametrize("choice", FORCED)
@pytest.mark.parametrize("text", ["I would rather not.", '{"name": "Bash", "argum', '{"a": 1}'])
def test_a_forced_call_that_is_none_stays_text(choice, text):
    _, message = compose([*text_chunks(text), done()], tools=TOOLS, tool_choice=choice)
    assert texts_and_calls(message.content) == [text]
    assert message.stop_reason == "end_turn"


def test_a_forced_call_may_be_written_in_tags():
    _, message = compose([*text_chunks(READ), done()], tools=TOOLS, tool_choice=FORCED[0])
    assert texts_and_calls(message.content) == [("Read", {"file_path": "/a"})]


def test_an_engine_that_can_force_calls_makes_them_itself():
    chunks = [EngineChunk(text="Now: "), EngineChunk(tool_calls=(call("Bash"),)), done()]
    _, message = compose(chunks, tools=TOOLS, tool_choice=FORCED[0])
    assert texts_and_calls(message.content) == ["Now: ", ("Bash", {})]


def test_one_call_where_parallel_ones_are_forbidden():
    choice = ToolChoice(type="auto", disable_parallel_tool_use=True)
    both = EngineChunk(tool_calls=(call("Bash"), call("Read")))
    _, message = compose([both, done()], tools=TOOLS, tool_choice=choice)
    assert texts_and_calls(message.content) == [("Bash", {})]


@pytest.mark.parametrize(
    "arguments", [{UNPARSED: {"raw": "{", "len": 1}}, {"n": 2**64}], ids=["unparsed", "huge"]
)
def test_calls_a_cache_should_not_or_cannot_hold(arguments):
    composer, message = compose([EngineChunk(tool_calls=(call("Bash", **arguments),)), done()])
    assert message.stop_reason == "tool_use"
    assert not composer.complete


@pytest.mark.parametrize("reason", ["content_filter", UNSAID])
def test_an_answer_whose_end_is_in_doubt_is_not_complete(reason):
    composer, message = compose([EngineChunk(text="I was"), done(reason)])
    assert message.stop_reason == "end_turn"
    assert not composer.complete


def test_an_answer_without_an_end_is_not_complete():
    composer = Composer(request(), input_tokens=7)
    assert not composer.complete
    composer.feed([EngineChunk(text="a")])
    composer.finish()
    assert not composer.complete


def test_a_failure_ends_the_stream_and_leaves_the_block_open():
    composer = Composer(request(tools=TOOLS), input_tokens=7)
    composer.feed([EngineChunk(text="a"), EngineChunk(text="<function=Read>")])
    assert composer.fail(ApiError(529, "gone")) == [Failed("overloaded_error", "gone")]
    assert composer.snapshot()[-1] == Failed("overloaded_error", "gone")
    assert not composer.complete
    assert composer.keep_alive(500) == [Ping()]


def test_signs_of_life():
    composer = Composer(request(thinking=THINKING), input_tokens=7)
    assert composer.keep_alive(8) == [Ping()]
    assert composer.keep_alive(119.9) == [Ping()]
    assert composer.keep_alive(120) == [Ping(), TextStarted(0), TextAdded(0, "")]
    assert composer.keep_alive(128) == [Ping(), TextAdded(0, "")]
    assert not composer.first_content
    assert composer.feed([EngineChunk(thinking="hm")])[0] == BlockStopped(0)
    assert composer.first_content
    assert composer.keep_alive(130) == [Ping(), ThinkingAdded(1, "")]
    composer.feed([EngineChunk(text="so"), done()])
    composer.finish()
    assert composer.message("m").content == [ThinkingBlock(thinking="hm"), TextBlock(text="so")]


def test_a_silence_in_a_long_tool_call_keeps_its_place():
    composer = Composer(request(tools=TOOLS), input_tokens=7)
    composer.keep_alive(120)
    events = composer.feed([EngineChunk(tool_calls=(call("Read"),))])
    assert events[:2] == [BlockStopped(0), ToolUseStarted(1, "Read")]


chunks = st.lists(
    st.builds(
        EngineChunk,
        text=st.sampled_from(["", "a", "\n", "<function=", "Read>", "</function>", "STOP", "`"]),
        thinking=st.sampled_from(["", "", "hm", " "]),
        tool_calls=st.sampled_from([(), (), (call("Read", limit=1),)]),
    ),
    max_size=8,
)
requests = st.sampled_from(
    [
        request(),
        request(tools=TOOLS, thinking=THINKING),
        request(tools=TOOLS, stop_sequences=["STOP"]),
        request(tools=TOOLS, tool_choice=FORCED[0]),
    ]
)


@given(requests, chunks)
def test_every_stream_is_well_formed_and_says_what_the_message_says(asked, said):
    composer = Composer(asked, input_tokens=7)
    message = accumulated(told(composer, [*said, done(completion_tokens=3)]))
    kept = composer.message("m")
    assert message["stop_reason"] == kept.stop_reason
    assert (message["stop_reason"] == "tool_use") == any(
        block["type"] == "tool_use" for block in message["content"]
    )
    assert [block["type"] for block in message["content"]] == [
        block.__struct_config__.tag for block in kept.content
    ]


@given(requests, chunks, st.integers(0, 8))
def test_a_newcomer_hears_the_same_as_who_was_there_from_the_start(asked, said, joins_at):
    composer = Composer(asked, input_tokens=7)
    early, late = [], None
    for number, chunk in enumerate(said):
        if number == joins_at:
            late = sse.encode(composer.snapshot())
        frames = sse.encode([*composer.feed([chunk]), *composer.keep_alive(number * 40)])
        early += frames
        if late is not None:
            late += frames
    if late is None:
        late = sse.encode(composer.snapshot())
    end = sse.encode(composer.finish())
    heard = accumulated(stream_of(early + end))
    assert accumulated(stream_of(late + end)) == heard
    assert accumulated(stream_of(sse.encode(composer.snapshot()))) == heard
