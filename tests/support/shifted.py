"""The service with a wall clock that a test can shift: `python tests/support/shifted.py FILE`.

FILE holds how many seconds the wall clock is off. Only `time.time` is shifted, as when somebody sets the clock of
the machine: the monotonic clock goes on. It is read once every time the clock is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

_true_time = time.time


def shift(file: Path) -> None:
    """Let the wall clock be off by what the file says."""

    def shifted() -> float:
        return _true_time() + float(file.read_text() or 0)

    time.time = shifted


if __name__ == "__main__":
    shift(Path(sys.argv.pop()))
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from terminal_service.__main__ import main

    raise SystemExit(main())
