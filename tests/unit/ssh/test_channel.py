"""One channel between a link and its owner: windows, order, ends, and who hears of them."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.errors import SshError
from llmctl.ssh import wire
from llmctl.ssh.channel import FULL_BACKLOG, MAX_PACKET, Channel
from tests.unit.ssh.fakes import Carrier, Sink, message

WINDOW = 512 * 1024
REMOTE = 7
LOST = SshError("lost the link")


def opened(
    *, out_window: int = 2**21, packet: int = MAX_PACKET, sink: Sink | None = None
) -> tuple[Channel, Carrier, Sink]:
    carrier, sink = Carrier(), sink or Sink()
    answers: list[SshError | None] = []
    channel = Channel(1, carrier, window=WINDOW, sink=sink, opened=answers.append)
    channel.on_opened(message(REMOTE, out_window, packet))
    assert answers == [None]
    return channel, carrier, sink


@given(
    st.lists(st.binary(max_size=3000), max_size=30),
    st.integers(1, 5000),
    st.lists(st.integers(1, 4000), max_size=40),
)
def test_bytes_keep_their_order_within_windows_and_packets(
    chunks: list[bytes], packet: int, grants: list[int]
) -> None:
    channel, carrier, _ = opened(out_window=0, packet=packet)
    allowed = 0
    for chunk in chunks:
        channel.write(chunk)
    for grant in grants:
        channel.on_window(message(grant))
        carrier.run()
        allowed += grant
    whole = b"".join(chunks)
    assert carrier.data() == whole[:allowed]
    assert channel.backlog == len(whole[allowed:])
    assert all(len(each) - 9 <= packet for each in carrier.sent)


@given(st.binary(max_size=2000), st.binary(max_size=9000), st.lists(st.integers(1, 4000)))
def test_what_is_pumped_follows_what_was_written_within_windows(
    written: bytes, rest: bytes, grants: list[int]
) -> None:
    channel, carrier, _ = opened(out_window=0, packet=1000)
    left = BytesIO(rest)
    channel.write(written)
    channel.pump(left.read)
    channel.write_eof()
    for grant in grants:
        channel.on_window(message(grant))
        carrier.run()
        assert carrier.data() == (written + rest)[: len(carrier.data())]
    allowed, whole = sum(grants), len(written + rest)
    assert len(carrier.data()) == min(allowed, whole)
    channel.on_window(message(20_000))
    carrier.run()
    assert carrier.data() == written + rest
    assert carrier.kinds()[-1] == wire.EOF
    assert not carrier.queue


def test_pumping_ends_with_its_source_and_with_the_channel() -> None:
    channel, carrier, _ = opened(packet=1000)
    channel.pump(BytesIO(b"first").read)
    carrier.run()
    channel.write(b" second")
    carrier.run()
    assert carrier.data() == b"first second"
    channel.pump(BytesIO(bytes(5000)).read)
    carrier.step()
    channel.abort()
    carrier.run()
    channel.pump(BytesIO(b"too late").read)
    carrier.run()
    assert carrier.kinds() == [wire.DATA, wire.DATA, wire.DATA, wire.CLOSE]


def test_channels_take_turns() -> None:
    carrier = Carrier()
    both = [Channel(n, carrier, window=WINDOW, sink=None, opened=lambda _: None) for n in (1, 2)]
    for channel in both:
        channel.on_opened(message(channel.number, 2**21, 1000))
        channel.write(bytes(3000))
    carrier.run()
    assert [int.from_bytes(each[1:5], "big") for each in carrier.sent] == [1, 2, 1, 2, 1, 2]


def test_one_without_a_window_is_not_asked_again_until_it_has_one() -> None:
    channel, carrier, _ = opened(out_window=0)
    channel.write(b"abc")
    assert not carrier.queue
    channel.on_window(message(3))
    carrier.run()
    assert carrier.data() == b"abc"


def test_what_is_written_before_the_confirmation_waits_for_it() -> None:
    carrier = Carrier()
    channel = Channel(1, carrier, window=WINDOW, sink=Sink(), opened=lambda _: None)
    channel.write(b"early")
    channel.write_eof()
    assert not carrier.queue
    channel.on_opened(message(REMOTE, 100, 100))
    carrier.run()
    assert carrier.kinds() == [wire.DATA, wire.EOF]


def test_a_full_backlog_says_so_and_later_that_it_is_low() -> None:
    channel, carrier, sink = opened()
    assert channel.write(bytes(FULL_BACKLOG))
    assert not channel.write(b"x")
    assert sink.told == []
    carrier.run()
    assert sink.told == ["drained"]


def test_consumed_bytes_are_granted_again_in_large_steps() -> None:
    channel, carrier, _ = opened()
    channel.on_data(message(bytes(WINDOW)))
    for _ in range(WINDOW // 1024):
        channel.consumed(1024)
        carrier.run()
    grants = [int.from_bytes(each[5:9], "big") for each in carrier.sent]
    assert grants == [WINDOW // 4] * 4
    assert set(carrier.kinds()) == {wire.WINDOW_ADJUST}
    channel.on_data(message(bytes(WINDOW)))
    assert carrier.violations == []


def test_more_than_the_window_is_a_violation() -> None:
    channel, carrier, sink = opened()
    channel.on_data(message(bytes(WINDOW)))
    channel.on_data(message(b"!"))
    assert carrier.violations == ["1 bytes more than were allowed"]
    assert sink.told == [bytes(WINDOW)]


def test_each_direction_ends_on_its_own() -> None:
    channel, carrier, sink = opened()
    channel.write(b"ask")
    channel.write_eof()
    channel.on_data(message(b"answer"))
    channel.on_eof(message())
    carrier.run()
    assert carrier.kinds() == [wire.DATA, wire.EOF]
    assert sink.told == [b"answer", "eof"]
    channel.write(b"too late")
    assert not carrier.queue


def test_close_sends_what_was_written_first_and_is_over_when_both_have_closed() -> None:
    channel, carrier, sink = opened(out_window=2)
    channel.write(b"four")
    channel.close()
    carrier.run()
    assert carrier.kinds() == [wire.DATA]
    channel.on_window(message(10))
    carrier.run()
    assert carrier.kinds() == [wire.DATA, wire.DATA, wire.CLOSE]
    assert sink.told == [("closed", None)]
    assert carrier.forgotten == []
    channel.on_close(message())
    assert carrier.forgotten == [channel]


def test_abort_drops_the_backlog_and_the_sink() -> None:
    channel, carrier, sink = opened(out_window=0)
    channel.write(bytes(1000))
    channel.abort()
    carrier.run()
    assert carrier.kinds() == [wire.CLOSE]
    channel.on_data(message(b"late"))
    channel.on_close(message())
    assert sink.told == []
    assert carrier.forgotten == [channel]
    assert channel.backlog == 0


def test_a_close_from_the_other_end_is_answered_and_told_once() -> None:
    channel, carrier, sink = opened(out_window=0)
    channel.write(b"never sent")
    channel.on_data(message(b"last"))
    channel.on_close(message())
    carrier.run()
    assert sink.told == [b"last", ("closed", None)]
    assert carrier.kinds() == [wire.CLOSE]
    assert carrier.forgotten == [channel]
    channel.on_lost(LOST)
    assert len(sink.told) == 2


def test_both_may_close_at_the_same_time() -> None:
    channel, carrier, sink = opened()
    channel.close()
    item = carrier.queue.popleft()
    assert item.take()[0] == wire.CLOSE
    channel.on_close(message())  # while the writer is still sending ours
    assert carrier.forgotten == []
    item.sent()
    assert carrier.forgotten == [channel]
    assert not carrier.queue
    assert sink.told == [("closed", None)]


def test_a_lost_link_ends_it_with_its_error() -> None:
    channel, carrier, sink = opened()
    channel.write(bytes(10))
    channel.on_lost(LOST)
    channel.on_lost(LOST)
    carrier.run()
    assert carrier.sent == []
    assert sink.told == [("closed", LOST)]


def test_a_refusal_or_a_lost_link_answers_whoever_opens_it() -> None:
    for say in (Channel.on_refused, Channel.on_lost):
        answers: list[SshError | None] = []
        sink = Sink()
        channel = Channel(1, Carrier(), window=WINDOW, sink=sink, opened=answers.append)
        say(channel, LOST)
        channel.on_lost(LOST)
        assert answers == [LOST]
        assert sink.told == []


def test_one_given_up_before_its_confirmation_is_closed_after_it() -> None:
    carrier = Carrier()
    channel = Channel(1, carrier, window=WINDOW, sink=None, opened=lambda _: None)
    channel.abort()
    channel.on_opened(message(REMOTE, 100, 100))
    carrier.run()
    assert carrier.kinds() == [wire.CLOSE]


def test_a_spare_can_be_taken_over_while_it_is_untouched() -> None:
    carrier, sink = Carrier(), Sink()
    channel = Channel(1, carrier, window=WINDOW, sink=None, opened=lambda _: None)
    channel.on_opened(message(REMOTE, 100, 100))
    assert channel.attach(sink)
    channel.on_data(message(b"answer"))
    assert sink.told == [b"answer"]


def test_a_spare_that_the_engine_has_used_or_left_cannot() -> None:
    for touch in (
        lambda channel: channel.on_data(message(b"hello")),
        lambda channel: channel.on_eof(message()),
        lambda channel: channel.on_close(message()),
        lambda channel: channel.on_lost(LOST),
        lambda channel: channel.abort(),
    ):
        channel = Channel(1, Carrier(), window=WINDOW, sink=None, opened=lambda _: None)
        channel.on_opened(message(REMOTE, 100, 100))
        touch(channel)
        assert not channel.attach(Sink())


def test_a_spare_that_the_engine_leaves_is_closed() -> None:
    carrier = Carrier()
    channel = Channel(1, carrier, window=WINDOW, sink=None, opened=lambda _: None)
    channel.on_opened(message(REMOTE, 100, 100))
    channel.on_eof(message())
    carrier.run()
    assert carrier.kinds() == [wire.CLOSE]


def test_requests_about_it_are_refused_if_an_answer_is_wanted() -> None:
    channel, carrier, _ = opened()
    channel.on_request(message(b"exit-status", False))
    assert not carrier.queue
    channel.on_request(message(b"keepalive@openssh.com", True))
    carrier.run()
    assert carrier.sent == [wire.request_refused(REMOTE)]


def test_nothing_is_said_of_a_channel_after_its_close() -> None:
    """sshd hangs up on whoever does."""
    channel, carrier, _ = opened()
    channel.on_data(message(bytes(WINDOW)))
    channel.consumed(WINDOW)
    channel.on_request(message(b"keepalive@openssh.com", True))
    channel.on_close(message())
    channel.consumed(WINDOW)
    channel.write(b"late")
    channel.on_request(message(b"keepalive@openssh.com", True))
    carrier.run()
    channel.consumed(WINDOW)
    channel.on_request(message(b"keepalive@openssh.com", True))
    carrier.run()
    assert carrier.kinds()[-1] == wire.CLOSE
    assert carrier.kinds().count(wire.CLOSE) == 1
    assert wire.WINDOW_ADJUST not in carrier.kinds()
