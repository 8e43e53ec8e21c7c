"""A full disk under the ring file: the log goes on in memory, says so, and returns once there is room."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replay.file import FileStore

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

KIB = 1024
RETENTION_BYTES = 1024 * KIB
DISK_BYTES = 1024 * KIB
NAME = "session/main"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Give a directory on a file system of one MiB."""
    if sys.platform != "linux":
        pytest.skip("needs a tmpfs")
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no block free; return the file that takes them."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4 * KIB)) == 4 * KIB:
                pass
        except OSError:
            pass
    return ballast


def test_a_log_goes_on_in_memory_and_returns(disk: Path, rng: random.Random) -> None:
    store = FileStore(disk / "logs")
    log = store.create(NAME, RETENTION_BYTES)
    data = rng.randbytes(600 * KIB)
    log.append(data[: 100 * KIB])
    assert log.degraded is None
    ballast = fill(disk)
    for start in range(100 * KIB, 600 * KIB, 50 * KIB):
        log.append(data[start : start + 50 * KIB])
        log.add_event("resize", {"rows": start}, 1.0)
    assert "No space left" in str(log.degraded)
    assert log.read_range(0, log.head) == data
    assert not log.restore_storage()
    assert log.read_range(0, log.head) == data

    ballast.unlink()
    assert log.restore_storage()
    assert log.degraded is None
    assert log.read_range(0, log.head) == data
    log.append(b"afterwards")
    events = [log.last_event("resize", position) for position in range(0, log.head, KIB)]
    log.close()
    again = store.open(NAME)
    assert again.read_range(0, again.head) == data + b"afterwards"
    assert [again.last_event("resize", position) for position in range(0, again.head, KIB)] == events
    again.close()


def test_what_was_stored_survives_a_vain_attempt_to_return(disk: Path, rng: random.Random) -> None:
    store = FileStore(disk / "logs")
    log = store.create(NAME, RETENTION_BYTES)
    data = rng.randbytes(300 * KIB)
    log.append(data[: 100 * KIB])
    ballast = fill(disk)
    log.append(data[100 * KIB :])
    stored = store.open(NAME, is_over=True)  # as a new process would after a kill at this point
    before = stored.read_range(stored.first, stored.head)
    stored.close()
    assert len(before) >= 100 * KIB
    assert data.startswith(before)
    assert not log.restore_storage()
    stored = store.open(NAME, is_over=True)
    assert stored.read_range(stored.first, stored.head) == before
    stored.close()
    log.close()
    ballast.unlink()


def test_a_log_that_wraps_while_in_memory_returns_whole(disk: Path, rng: random.Random) -> None:
    store = FileStore(disk / "logs")
    retention = 128 * KIB
    log = store.create(NAME, retention)
    ballast = fill(disk)
    data = rng.randbytes(900 * KIB)
    log.append(data)
    assert log.degraded is not None
    ballast.unlink()
    assert log.restore_storage()
    log.append(b"end")
    log.close()
    again = store.open(NAME)
    assert again.head == len(data) + 3
    assert again.read_range(again.first, again.head) == (data + b"end")[-retention:]
    again.close()


def test_a_log_begun_on_a_full_disk_lives_in_memory_until_there_is_room(disk: Path) -> None:
    store = FileStore(disk / "logs")
    ballast = fill(disk)
    log = store.create(NAME, RETENTION_BYTES)
    assert "No space left" in str(log.degraded)
    log.append(b"x" * 100 * KIB)
    log.add_event("storage", {"durable": False, "reason": ""}, 1.0)
    assert log.read_range(0, log.head) == b"x" * 100 * KIB
    assert not log.restore_storage()
    assert list(store.names()) == []
    ballast.unlink()
    assert log.restore_storage()
    assert log.degraded is None
    log.append(b"end")
    log.close()
    again = store.open(NAME)
    assert again.epoch == log.epoch
    assert again.read_range(0, again.head) == b"x" * 100 * KIB + b"end"
    event = again.last_event("storage", again.head)
    assert event is not None
    assert event.position == 100 * KIB
    again.close()
    store.delete(NAME)
    assert list(store.names()) == []


def test_a_directory_that_vanished_is_storage_trouble_too(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "logs")
    log = store.create(NAME, RETENTION_BYTES)
    moved = (tmp_path / "logs").rename(tmp_path / "elsewhere")
    data = bytes(range(256)) * 2 * KIB
    log.append(data)
    assert log.degraded is not None
    other = store.create("other/main", RETENTION_BYTES)
    assert other.degraded is not None
    other.close()
    moved.rename(tmp_path / "logs")
    assert log.restore_storage()
    assert log.read_range(0, log.head) == data
    log.close()


LIMITED = """
import pathlib, resource, sys
from replay.file import FileStore
store = FileStore(pathlib.Path(sys.argv[1]))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, hard))
log = store.create("small/main", 64 * 1024)
assert log.degraded is None
log.append(bytes(range(256)) * 4096)
assert log.degraded is None
log.close()
log = store.create("large/main", 1024 * 1024)
assert "too large" in str(log.degraded), log.degraded
log.append(bytes(range(256)) * 4096)
assert log.read_range(0, log.head) == bytes(range(256)) * 4096
log.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert sorted(store.names()) == ["small/main"]
log = store.create("large/main", 1024 * 1024)
assert log.degraded is None
log.close()
print("whole")
"""


def test_a_limit_on_file_sizes_is_storage_trouble_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "whole\n", "")
