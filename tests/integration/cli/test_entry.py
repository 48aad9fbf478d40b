"""The first tenth of a second of a command, in which it is being loaded."""

import os
import subprocess
import sys
from pathlib import Path

CTRL_C = "raise KeyboardInterrupt\n"
"""What the signal itself would do here, were it not ignored where a shell began this run with &."""


def test_ctrl_c_while_it_is_loaded_is_not_answered_with_a_traceback(tmp_path: Path):
    (tmp_path / "typer.py").write_text(CTRL_C)
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(
        [sys.executable, "-m", "llmctl", "stats"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
