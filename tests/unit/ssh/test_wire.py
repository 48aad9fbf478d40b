"""Our messages, read by paramiko."""

from hypothesis import given
from hypothesis import strategies as st
from paramiko import Message

from llmctl.ssh import wire

NUMBERS = st.integers(0, 2**32 - 1)


def read(message: bytes) -> tuple[int, Message]:
    parsed = Message(message)
    return parsed.get_byte()[0], parsed


def test_a_channel_is_asked_for_as_rfc_4254_says() -> None:
    kind, message = read(wire.open_direct_tcpip(7, 524288, 32768, "127.0.0.1", 11434))
    assert kind == wire.OPEN
    assert message.get_text() == "direct-tcpip"
    assert [message.get_int() for _ in range(3)] == [7, 524288, 32768]
    assert (message.get_text(), message.get_int()) == ("127.0.0.1", 11434)
    assert (message.get_text(), message.get_int()) == ("127.0.0.1", 0)
    assert message.get_remainder() == b""


@given(NUMBERS, st.lists(st.binary(max_size=40), min_size=1))
def test_data_are_one_string(remote: int, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    kind, message = read(wire.data(remote, [memoryview(each) for each in pieces], len(whole)))
    assert (kind, message.get_int(), message.get_binary()) == (wire.DATA, remote, whole)
    assert message.get_remainder() == b""


@given(NUMBERS, NUMBERS)
def test_short_messages(remote: int, size: int) -> None:
    for made, kind in (
        (wire.eof(remote), wire.EOF),
        (wire.close(remote), wire.CLOSE),
        (wire.request_refused(remote), wire.CHANNEL_FAILURE),
    ):
        found, message = read(made)
        assert (found, message.get_int(), message.get_remainder()) == (kind, remote, b"")
    kind, message = read(wire.window_adjust(remote, size))
    assert (kind, message.get_int(), message.get_int()) == (wire.WINDOW_ADJUST, remote, size)


def test_the_keepalive_asks_for_an_answer() -> None:
    kind, message = read(wire.KEEPALIVE)
    assert kind == wire.GLOBAL_REQUEST
    assert message.get_text() == "keepalive@openssh.com"
    assert message.get_boolean()
    assert wire.REFUSAL == bytes([wire.REQUEST_FAILURE])
