"""What asks a process to stop, as the process that is asked sees it."""

import subprocess
import sys

import pytest

ASK = "from llmctl.core.signals import stopping; print(*(each.name for each in stopping()))"


@pytest.mark.parametrize(
    ("before", "asked"), [([], "SIGINT SIGTERM SIGHUP"), (["nohup"], "SIGINT SIGTERM")]
)
def test_a_closed_terminal_counts_unless_it_is_to_be_outlived(before, asked):
    told = subprocess.run(
        [*before, sys.executable, "-c", ASK], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == asked.split()
