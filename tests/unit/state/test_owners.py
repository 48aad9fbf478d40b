import os
import socket

from llmctl.state.owners import Owner, this_process


def test_this_process_lives():
    me = this_process()
    assert (me.host, me.pid) == (socket.gethostname(), os.getpid())
    assert me.alive()
    assert me == this_process()


def test_a_process_id_that_has_gone_to_another_is_not_alive():
    me = this_process()
    assert not Owner(host=me.host, pid=me.pid, started="1").alive()


def test_a_process_id_that_nobody_has_is_not_alive():
    beyond = 2**22 + 1  # more than the kernel gives out (man 5 proc, pid_max)
    assert not Owner(host=socket.gethostname(), pid=beyond, started="1").alive()


def test_processes_of_other_machines_are_believed():
    assert Owner(host="elsewhere.invalid", pid=os.getpid(), started="1").alive()
