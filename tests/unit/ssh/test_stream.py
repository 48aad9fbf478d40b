"""A channel as an asyncio transport: what a protocol sees, in which order."""

import asyncio

from llmctl.core.errors import SshError
from llmctl.ssh import wire
from llmctl.ssh.channel import FULL_BACKLOG, Channel
from llmctl.ssh.stream import MERGED_BYTES, ChannelTransport
from tests.unit.ssh.fakes import Carrier, message

WINDOW = 512 * 1024


class Protocol(asyncio.Protocol):
    """Keeps what it is told; ``keep_open`` is its answer to the end of data."""

    def __init__(self, *, keep_open: bool = False) -> None:
        self.told: list[object] = []
        self.keep_open = keep_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.keep_open

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(("lost", type(error), str(error or "")))

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


def made(protocol: Protocol) -> tuple[ChannelTransport, Channel, Carrier]:
    carrier = Carrier()
    transport = ChannelTransport(asyncio.get_running_loop(), "root@box:22")
    channel = Channel(1, carrier, window=WINDOW, sink=transport, opened=lambda _: None)
    channel.on_opened(message(7, 2**21, 32768))
    transport.begin(channel, protocol)
    protocol.told.clear()
    return transport, channel, carrier


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_data_then_end_then_loss() -> None:
    protocol = Protocol()
    transport, channel, carrier = made(protocol)
    channel.on_data(message(b"one"))
    channel.on_eof(message())
    await turn()
    carrier.run()
    await turn()
    assert protocol.told == [b"one", "eof", ("lost", type(None), "")]
    assert carrier.kinds() == [wire.CLOSE]
    assert transport.is_closing()


async def test_a_protocol_may_write_on_after_the_end_of_data() -> None:
    protocol = Protocol(keep_open=True)
    transport, channel, carrier = made(protocol)
    channel.on_eof(message())
    await turn()
    transport.write(b"still here")
    carrier.run()
    assert protocol.told == ["eof"]
    assert carrier.data() == b"still here"


async def test_a_close_from_the_engine_comes_after_its_data() -> None:
    protocol = Protocol()
    _, channel, _ = made(protocol)
    channel.on_data(message(b"one"))
    channel.on_close(message())
    await turn()
    assert protocol.told == [b"one", ("lost", type(None), "")]


async def test_a_lost_link_is_an_error_of_the_connection() -> None:
    protocol = Protocol()
    _, channel, _ = made(protocol)
    channel.on_data(message(b"one"))
    channel.on_lost(SshError("lost the link to box"))
    await turn()
    assert protocol.told == [b"one", ("lost", ConnectionResetError, "lost the link to box")]


async def test_while_paused_data_wait_and_the_window_closes() -> None:
    protocol = Protocol()
    transport, channel, carrier = made(protocol)
    transport.pause_reading()
    assert not transport.is_reading()
    for _ in range(8):
        channel.on_data(message(bytes(WINDOW // 8)))
    channel.on_close(message())
    await turn()
    assert protocol.told == []
    assert wire.WINDOW_ADJUST not in carrier.kinds()
    transport.resume_reading()
    await turn()
    assert sum(len(each) for each in protocol.told[:-1]) == WINDOW
    assert protocol.told[-1] == ("lost", type(None), "")


async def test_a_pause_in_the_middle_holds_the_rest_back() -> None:
    class OneAtATime(Protocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            transport.pause_reading()

    protocol = OneAtATime()
    transport, channel, _ = made(protocol)
    for letter in (b"a", b"b"):
        channel.on_data(message(letter * MERGED_BYTES))
    await turn()
    assert protocol.told == [b"a" * MERGED_BYTES]
    transport.resume_reading()
    await turn()
    assert b"".join(protocol.told) == b"a" * MERGED_BYTES + b"b" * MERGED_BYTES


async def test_short_chunks_that_wait_are_merged_and_keep_their_order() -> None:
    protocol = Protocol()
    transport, channel, _ = made(protocol)
    transport.pause_reading()
    whole = bytes(index % 251 for index in range(100_000))
    for start in range(0, len(whole), 10):
        channel.on_data(message(whole[start : start + 10]))
    assert len(transport._chunks) <= len(whole) // MERGED_BYTES + 2
    transport.resume_reading()
    await turn()
    assert b"".join(protocol.told) == whole


async def test_a_writer_is_paused_and_resumed() -> None:
    protocol = Protocol()
    transport, _, carrier = made(protocol)
    transport.write(bytes(FULL_BACKLOG + 1))
    transport.write(b"more")
    assert transport.get_write_buffer_size() == FULL_BACKLOG + 5
    carrier.run()
    await turn()
    assert protocol.told == ["pause", "resume"]
    assert transport.get_write_buffer_size() == 0


async def test_what_is_written_cannot_be_changed_afterwards() -> None:
    transport, _, carrier = made(Protocol())
    buffer = bytearray(b"before")
    transport.write(buffer)
    buffer[:] = b"after!"
    transport.writelines([b" and", b" more"])
    carrier.run()
    assert carrier.data() == b"before and more"


async def test_abort_loses_at_once_and_nothing_is_told_twice() -> None:
    protocol = Protocol()
    transport, channel, carrier = made(protocol)
    transport.write(bytes(10))
    transport.abort()
    transport.close()
    await turn()
    channel.on_data(message(b"late"))
    channel.on_close(message())
    carrier.run()
    await turn()
    assert protocol.told == [("lost", type(None), "")]
    assert carrier.kinds() == [wire.CLOSE]
    assert transport.is_closing()


async def test_close_waits_for_what_was_written() -> None:
    protocol = Protocol()
    transport, _, carrier = made(protocol)
    transport.write(b"last words")
    transport.close()
    await turn()
    assert protocol.told == []
    carrier.run()
    await turn()
    assert carrier.data() == b"last words"
    assert protocol.told == [("lost", type(None), "")]
