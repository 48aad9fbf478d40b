"""What is used of paramiko's inner parts: a release that changes them must fail here first."""

import inspect
import threading

import paramiko
import pytest
from paramiko import Message, Transport

from llmctl.core.errors import SshError
from llmctl.core.rental import SshAddress
from llmctl.ssh import wire
from llmctl.ssh.channel import Channel
from llmctl.ssh.connect import Connection
from llmctl.ssh.link import FIRST_NUMBER, Link
from tests.integration.eventually import eventually
from tests.integration.tunnel.machine import Machine


class Ignoring:
    def data(self, chunk: bytes) -> None: ...
    def eof(self) -> None: ...
    def closed(self, error: SshError | None) -> None: ...
    def drained(self) -> None: ...


@pytest.fixture
def transport(shared_machine: Machine):
    connection = shared_machine.login(shared_machine.target())
    yield connection.transport
    connection.transport.close()
    connection.transport.join()


def test_message_numbers_are_paramikos() -> None:
    common = paramiko.common
    assert wire.OPEN == common.MSG_CHANNEL_OPEN
    assert wire.OPEN_CONFIRMATION == common.MSG_CHANNEL_OPEN_SUCCESS
    assert wire.OPEN_FAILURE == common.MSG_CHANNEL_OPEN_FAILURE
    assert wire.WINDOW_ADJUST == common.MSG_CHANNEL_WINDOW_ADJUST
    assert wire.DATA == common.MSG_CHANNEL_DATA
    assert wire.EOF == common.MSG_CHANNEL_EOF
    assert wire.CLOSE == common.MSG_CHANNEL_CLOSE
    assert wire.REQUEST == common.MSG_CHANNEL_REQUEST
    assert wire.CHANNEL_FAILURE == common.MSG_CHANNEL_FAILURE
    assert wire.GLOBAL_REQUEST == common.MSG_GLOBAL_REQUEST
    assert wire.REQUEST_FAILURE == common.MSG_REQUEST_FAILURE


def test_handler_tables_can_be_replaced_for_one_transport(transport: Transport) -> None:
    theirs = transport._channel_handler_table
    assert {wire.DATA, wire.WINDOW_ADJUST, wire.EOF, wire.CLOSE, wire.REQUEST} <= set(theirs)
    Link(connection_of(transport), changed=lambda: None, ended=lambda _: None)
    assert transport._channel_handler_table is not theirs
    assert Transport._channel_handler_table is theirs
    table = transport._handler_table
    assert table is not Transport(SilentSocket())._handler_table
    assert {wire.OPEN_CONFIRMATION, wire.OPEN_FAILURE, wire.GLOBAL_REQUEST} <= set(table)


def test_the_reader_looks_handlers_up_in_the_instance() -> None:
    source = inspect.getsource(Transport.run)
    assert "self._channel_handler_table[ptype](chan, m)" in source
    assert "self._handler_table[ptype](m)" in source
    assert "self._channels.get(chanid)" in source
    assert "chanid in self.channels_seen" in source
    assert "chan._unlink()" in source
    assert callable(Channel._unlink)


def test_user_messages_wait_for_a_rekey_and_are_sent_as_they_are(transport: Transport) -> None:
    source = inspect.getsource(Transport._send_user_message)
    assert "clear_to_send" in source
    assert Message(b"\x5eabc").asbytes() == b"\x5eabc"


def test_our_numbers_cannot_meet_theirs(transport: Transport) -> None:
    assert transport._next_channel() < FIRST_NUMBER


async def test_a_channel_opens_and_both_sides_forget_it(transport: Transport, engine) -> None:
    ended = []
    link = Link(connection_of(transport), changed=lambda: None, ended=ended.append)
    link.start()
    opened = threading.Event()
    channel = link.open("127.0.0.1", engine.port, sink=Ignoring(), opened=lambda _: opened.set())
    await eventually(opened.is_set)
    assert len(transport._channels) == link.channels == 1
    channel.close()
    await eventually(lambda: link.channels == 0)
    assert len(transport._channels) == 0
    again = link.open("127.0.0.1", engine.port, sink=None, opened=lambda _: None)
    assert again.number == channel.number
    link.cut("the test is over")
    link.join()
    assert len(ended) == 1
    assert not transport.is_alive()


def connection_of(transport: Transport) -> Connection:
    return Connection(transport=transport, address=SshAddress(host="127.0.0.1"), host_key="")


class SilentSocket:
    _closed = False

    def settimeout(self, seconds: float) -> None: ...
    def close(self) -> None: ...
