"""A small disk that can be filled: a tmpfs where one may be mounted, for whoever wants to see a full disk."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES = 4096


@contextmanager
def small_disk(place: Path, *, size_bytes: int) -> Iterator[None]:
    """Mount a file system of its own at `place` (made if need be); skips the test where that is not allowed."""
    if sys.platform != "linux":
        pytest.skip("a small disk is a tmpfs, which only Linux has")
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no block free; return the file that takes them."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(BLOCK_BYTES)) == BLOCK_BYTES:
            continue
    return ballast
