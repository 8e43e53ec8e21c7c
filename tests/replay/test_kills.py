"""Readers of a real terminal are killed in a flood, one after another: the log is what the program wrote."""

from __future__ import annotations

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replay.file import FileStore

if sys.platform == "win32":
    pytest.skip("there the service keeps its terminals to itself", allow_module_level=True)

from support import mortal

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
LINES = 4_000_000
LINE = b"%07d\n"
ROUND_KILLS = 50
TIMEOUT_SECONDS = 60
MIB = 1 << 20


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a file of numbered lines."""
    path = tmp_path_factory.mktemp("numbers") / "numbers"
    with path.open("wb") as file:
        for start in range(0, LINES, 100_000):
            file.write(b"".join(LINE % number for number in range(start, start + 100_000)))
    return path


@pytest.mark.full
@pytest.mark.platform("linux", "darwin")
@pytest.mark.parametrize("retention_bytes", [64 * MIB, 1 * MIB], ids=["all kept", "the last MiB kept"])
def test_readers_killed_in_a_flood_lose_and_double_nothing(
    tmp_path: Path, numbers: Path, rng: random.Random, size: Callable[[int, int], int], retention_bytes: int
) -> None:
    killed = torn = 0
    wanted = size(80, 20_000)
    while killed < wanted:
        directory = tmp_path / str(killed)
        details = [str(directory), str(ROUND_KILLS), str(rng.random()), str(retention_bytes), "cat", str(numbers)]
        ended = subprocess.run(
            [sys.executable, "-m", "support.mortal", *details],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        counts = [int(word) for word in ended.stdout.split()]
        killed, torn = killed + counts[0], torn + counts[1]
        check_log(directory, numbers.read_bytes()[-retention_bytes:])
    assert torn > wanted // 20, "the moment this is about was met"


def check_log(directory: Path, expected: bytes) -> None:
    """Compare what is kept with the end of what was written, and remove it."""
    store = FileStore(directory)
    log = store.open(mortal.NAME)
    assert log.head == LINES * len(LINE % 0)
    assert sha256(log.read_range(log.head - len(expected), log.head)).digest() == sha256(expected).digest()
    assert log.last_event("gap", log.head) is None
    log.close()
    store.delete(mortal.NAME)
