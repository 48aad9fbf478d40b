import logging

import pytest

from llmctl.core.trouble import QUIET_S, Trouble
from tests.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def trouble(clock) -> Trouble:
    return Trouble(logging.getLogger("part"), "the part", clock=clock)


def test_it_is_said_once_when_it_begins_and_once_when_it_ends(trouble, caplog):
    trouble.end()
    for _ in range(5):
        trouble.begin("the disk is full")
    assert trouble.detail == "the disk is full"
    trouble.end()
    trouble.end()
    assert trouble.detail == ""
    assert caplog.messages == ["the disk is full", "the part works again"]


def test_the_latest_reason_is_the_one_shown(trouble, caplog):
    trouble.begin("the disk is full")
    trouble.begin("the disk is gone")
    assert trouble.detail == "the disk is gone"
    assert len(caplog.records) == 1


def test_what_comes_and_goes_is_said_once_a_minute(trouble, clock, caplog):
    for _ in range(10):
        trouble.begin("the disk is full")
        assert trouble.detail == "the disk is full"
        trouble.end()
    assert caplog.messages == ["the disk is full", "the part works again"]
    clock.advance(QUIET_S)
    trouble.begin("the disk is full again")
    trouble.end()
    assert caplog.messages[2:] == ["the disk is full again", "the part works again"]
