from llmctl.protocol.anthropic import TextBlock, ThinkingBlock, ToolUseBlock
from llmctl.protocol.blocks import Blocks
from llmctl.protocol.events import (
    BlockStopped,
    InputAdded,
    TextAdded,
    TextStarted,
    ThinkingAdded,
    ThinkingStarted,
    ToolUseStarted,
)


def test_a_block_lasts_as_long_as_its_kind():
    blocks, events = Blocks(), []
    blocks.say(ThinkingAdded, "hm", events)
    blocks.say(ThinkingAdded, "m", events)
    blocks.say(TextAdded, "so", events)
    blocks.call("Read", {"a": 1}, events)
    blocks.say(TextAdded, "then", events)
    blocks.close(events)
    blocks.close(events)
    assert events == [
        ThinkingStarted(0), ThinkingAdded(0, "hm"), ThinkingAdded(0, "m"), BlockStopped(0),
        TextStarted(1), TextAdded(1, "so"), BlockStopped(1),
        ToolUseStarted(2, "Read"), InputAdded(2, '{"a":1}'), BlockStopped(2),
        TextStarted(3), TextAdded(3, "then"), BlockStopped(3),
    ]  # fmt: skip
    assert blocks.content() == [
        ThinkingBlock(thinking="hmm"),
        TextBlock(text="so"),
        ToolUseBlock(id="", name="Read", input={"a": 1}),
        TextBlock(text="then"),
    ]
    assert blocks.calls == 1


def test_white_space_waits_for_what_it_leads_up_to():
    blocks, events = Blocks(), []
    blocks.say(TextAdded, "\n", events)
    blocks.say(TextAdded, " \n", events)
    assert events == []
    blocks.say(TextAdded, " x", events)
    blocks.say(TextAdded, "\n", events)
    assert events == [TextStarted(0), TextAdded(0, "\n \n x"), TextAdded(0, "\n")]


def test_white_space_that_leads_nowhere_is_dropped():
    blocks, events = Blocks(), []
    blocks.say(TextAdded, "\n", events)
    blocks.call("Read", {}, events)
    blocks.say(TextAdded, "\n", events)
    blocks.say(ThinkingAdded, "hm", events)
    blocks.say(TextAdded, "x", events)
    assert [block.text for block in blocks.content() if isinstance(block, TextBlock)] == ["x"]


def test_keeping_open_adds_nothing_to_the_open_block():
    blocks, events = Blocks(), []
    blocks.say(ThinkingAdded, "hm", events)
    events.clear()
    blocks.keep_open(events)
    assert events == [ThinkingAdded(0, "")]


def test_keeping_open_opens_a_text_block_which_text_then_fills():
    blocks, events = Blocks(), []
    blocks.say(TextAdded, "\n", events)
    blocks.keep_open(events)
    blocks.keep_open(events)
    assert events == [TextStarted(0), TextAdded(0, "\n"), TextAdded(0, "")]
    assert not blocks.answer
    blocks.say(TextAdded, "x", events)
    assert events[-1] == TextAdded(0, "x")
    assert blocks.content() == [TextBlock(text="\nx")]


def test_a_block_kept_open_for_nothing_is_not_content():
    blocks, events = Blocks(), []
    blocks.keep_open(events)
    assert not blocks.begun
    blocks.say(ThinkingAdded, "hm", events)
    assert events[:3] == [TextStarted(0), TextAdded(0, ""), BlockStopped(0)]
    assert blocks.content() == [ThinkingBlock(thinking="hm")]
    assert blocks.begun
    assert not blocks.answer


def test_a_newcomer_is_led_to_the_present_state():
    blocks, events = Blocks(), []
    blocks.say(ThinkingAdded, "h", events)
    blocks.say(ThinkingAdded, "m", events)
    blocks.call("Read", {}, events)
    blocks.say(TextAdded, "a", events)
    blocks.say(TextAdded, "b", events)
    assert blocks.events() == [
        ThinkingStarted(0), ThinkingAdded(0, "hm"), BlockStopped(0),
        ToolUseStarted(1, "Read"), InputAdded(1, "{}"), BlockStopped(1),
        TextStarted(2), TextAdded(2, "ab"),
    ]  # fmt: skip


def test_size_is_in_bytes():
    blocks = Blocks()
    blocks.say(TextAdded, "é", [])
    blocks.call("Read", {"a": "é"}, [])
    assert blocks.size == 2 + len('{"a":"é"}'.encode())
