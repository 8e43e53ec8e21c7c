"""Input is written exactly once, though the service is killed at any instruction and as often as you like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent.parent

pytestmark = pytest.mark.platform("linux")


def run(mode: str, count: int, seed: int, where: str) -> dict[str, Any]:
    """Run the typist; fail with what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "support.typist", mode, str(count), str(seed), where],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.full
@pytest.mark.parametrize("where", ["near", "far"])
def test_input_is_written_once_when_killed_at_every_instruction(
    size: Callable[[int, int], int], rng: random.Random, where: str
) -> None:
    found = run("steps", size(197, 1), rng.getrandbits(32), where)
    assert found["steps"] > 3000, "it was killed up to the end"
    assert found["kills"] > 0


@pytest.mark.full
@pytest.mark.parametrize("where", ["near", "far"])
def test_input_is_written_once_when_killed_at_random(
    size: Callable[[int, int], int], rng: random.Random, where: str
) -> None:
    kills = size(50, 3000)
    found = run("kills", kills, rng.getrandbits(32), where)
    assert found["kills"] == kills
    assert found["resumed"] > 0, "some were killed in the middle of a paste"
