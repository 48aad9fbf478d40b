"""The crash-point matrix as a program: ``python -m benchmarks.scorecard.matrix``, one JSON line.

A process of its own: the blows are signals, which reach the main thread outside any event loop.
"""

import contextlib
import json
import tempfile
from pathlib import Path

from tests.matrix.laptop import Blow
from tests.matrix.test_crash_points import CASES, Case


def main() -> None:
    failed: list[str] = []
    never = 0
    for point, blow, behaviour in CASES:
        with tempfile.TemporaryDirectory() as home:
            case = Case(Path(home), point, blow, behaviour)
            try:
                with contextlib.closing(case.bed):
                    case.play()
            except BaseException as failure:  # pytest's own failures are no Exceptions
                if isinstance(failure, KeyboardInterrupt):
                    raise
                failed.append(f"{point.name} {blow.name} {behaviour.name}: {failure!r}"[:200])
                never += blow is Blow.NEVER
    print(json.dumps({"cases": len(CASES), "failed": failed, "failed_without_laptop": never}))


if __name__ == "__main__":
    main()
