"""What the installed command starts with: next to nothing, so that Ctrl-C finds it at once."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run ``llmctl`` with the arguments of this process and exit.

    Loading everything takes a tenth of a second, and longer from a slow disk. Whoever stops it
    there is told nothing, least of all in which import that was.
    """
    try:
        from llmctl.cli.main import run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)  # as ``ExitCode.INTERRUPTED``, which may not be loaded yet
