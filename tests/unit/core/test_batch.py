"""The thread is made to wait by what the tests hand it, never by sleeping."""

import threading
from collections.abc import Iterator

import pytest

from llmctl.core.batch import BatchThread

LONG_S = 10.0


class Recorder:
    """A ``write`` that can be held up, and told to fail."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.failures = 0
        self.bugs = 0
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: list[int]) -> bool:
        self.entered.release()
        assert self.gate.wait(LONG_S)
        if self.bugs:
            self.bugs -= 1
            raise ZeroDivisionError
        if self.failures:
            self.failures -= 1
            return False
        self.batches.append(batch)
        return True

    @property
    def written(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def thread(recorder: Recorder) -> Iterator[BatchThread[int]]:
    thread = BatchThread("test-writer", recorder, limit=8, batch=4, retry_s=0.001)
    yield thread
    recorder.gate.set()
    assert thread.close(LONG_S)


def settle(thread: BatchThread[int]) -> None:
    thread.call(lambda: None).result(LONG_S)


def test_everything_waiting_is_written_in_order_and_in_batches(thread, recorder):
    for item in range(6):
        thread.append(item)
    assert thread.waiting() == 6
    thread.start()
    settle(thread)
    assert recorder.batches == [[0, 1, 2, 3], [4, 5]]
    assert thread.waiting() == 0


def test_what_arrives_during_a_write_is_written_next(thread, recorder):
    thread.start()
    recorder.gate.clear()
    thread.append(0)
    assert recorder.entered.acquire(timeout=LONG_S)
    for item in (1, 2, 3):
        thread.append(item)
    recorder.gate.set()
    settle(thread)
    assert recorder.batches == [[0], [1, 2, 3]]


def test_the_oldest_go_when_the_queue_is_full(thread, recorder):
    for item in range(11):
        thread.append(item)
    thread.start()
    settle(thread)
    assert recorder.written == list(range(3, 11))
    assert thread.dropped == 3


def test_a_batch_that_is_not_done_is_tried_again_before_the_others(thread, recorder):
    recorder.failures = 3
    for item in range(6):
        thread.append(item)
    thread.start()
    while recorder.failures or thread.waiting():
        settle(thread)
    settle(thread)
    assert recorder.written == list(range(6))
    assert thread.dropped == 0


def test_a_bug_in_the_writer_costs_its_batch_and_not_the_thread(thread, recorder, caplog):
    recorder.bugs = 1
    for item in range(6):
        thread.append(item)
    thread.start()
    settle(thread)
    assert recorder.written == [4, 5]
    assert thread.dropped == 4
    assert "test-writer lost 4 writes" in caplog.text


def test_a_job_runs_in_the_thread_after_what_was_appended_before_it(thread, recorder):
    thread.start()
    thread.append(1)
    name, seen = thread.call(
        lambda: (threading.current_thread().name, list(recorder.written))
    ).result(LONG_S)
    assert name == "test-writer"
    assert seen == [1]


def test_the_failure_of_a_job_goes_to_whoever_asked(thread):
    thread.start()
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0).result(LONG_S)
    settle(thread)


def test_a_job_nobody_waits_for_any_more_is_left_out(thread):
    ran = []
    future = thread.call(lambda: ran.append("cancelled"))
    assert future.cancel()
    thread.start()
    settle(thread)
    assert ran == []


def test_lingering_gathers_company_and_a_job_cuts_it_short(recorder):
    thread = BatchThread("lingerer", recorder, limit=8, batch=8, linger_s=1000)
    thread.start()
    for item in range(5):
        thread.append(item)
    settle(thread)
    assert recorder.batches == [[0, 1, 2, 3, 4]]
    assert thread.close(LONG_S)


def test_closing_writes_what_is_left(recorder):
    thread = BatchThread("closer", recorder, limit=8, batch=8, linger_s=1000)
    thread.start()
    thread.append(1)
    assert thread.close(LONG_S)
    assert recorder.written == [1]


def test_closing_gives_up_what_cannot_be_written(recorder):
    thread = BatchThread("closer", recorder, limit=8, batch=8, retry_s=1000)
    recorder.failures = 100
    thread.start()
    thread.append(1)
    thread.append(2)
    assert thread.close(LONG_S)
    assert (recorder.written, thread.dropped, thread.waiting()) == ([], 2, 0)


def test_closing_does_not_wait_for_ever(thread, recorder):
    recorder.gate.clear()
    thread.start()
    thread.append(1)
    assert recorder.entered.acquire(timeout=LONG_S)
    assert not thread.close(0.001)


def test_closing_what_was_never_started(thread):
    assert thread.close(0.0)


def test_a_job_never_overtakes_what_was_appended_before_it(recorder):
    thread = BatchThread("racer", recorder, limit=10_000, batch=4)
    thread.start()
    for item in range(3000):
        thread.append(item)
        done = thread.call(lambda: len(recorder.written))
        assert done.result(LONG_S) == item + 1
    assert thread.close(LONG_S)


def test_a_job_for_a_closed_thread_fails_instead_of_waiting(thread):
    thread.start()
    assert thread.close(LONG_S)
    with pytest.raises(RuntimeError, match="test-writer is closed"):
        thread.call(lambda: None).result(LONG_S)
