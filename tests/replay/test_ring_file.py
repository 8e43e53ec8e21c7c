"""The ring file: private, checked on open, set aside when damaged, whole up to the last append."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from replay.errors import LogDamaged, LogMissing
from replay.file import FileStore
from replay.log import SLACK_BYTES
from replay.ringfile import EVENTS_HALF_BYTES, HEADER_BYTES, MAGIC, NEVER_HERE, PAGE_BYTES, VERSION
from support.wait import poll_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

RETENTION_BYTES = 64 * 1024
NAME = "session/main"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "logs")


@pytest.fixture
def path(store: FileStore, tmp_path: Path) -> Path:
    """Make a closed log with some output and events, and return its file."""
    log = store.create(NAME, RETENTION_BYTES)
    log.append(b"some output")
    log.add_event("resize", {"rows": 24, "cols": 80, "client_id": "c"}, 1.0)
    log.close()
    return tmp_path / "logs" / "session" / "main.ring"


def test_files_and_directories_are_private(store: FileStore, path: Path) -> None:
    old = os.umask(0)
    try:
        store.create("other/main", RETENTION_BYTES).close()
    finally:
        os.umask(old)
    base = path.parent.parent
    for directory in (base, path.parent, base / "other"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for file in (path, base / "other" / "main.ring"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    FileStore(tmp_path / "open")
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_an_idle_log_costs_little(store: FileStore, tmp_path: Path) -> None:
    log = store.create(NAME, 16 * 1024 * 1024)
    file = tmp_path / "logs" / "session" / "main.ring"
    assert file.stat().st_size > 16 * 1024 * 1024
    assert file.stat().st_blocks * 512 <= 160 * 1024
    log.append(b"x" * (1024 * 1024))
    assert 1024 * 1024 <= file.stat().st_blocks * 512 <= 3 * 1024 * 1024
    log.close()


def words_of(path: Path) -> list[int]:
    return list(struct.unpack("<512Q", path.read_bytes()[:PAGE_BYTES]))


def rewrite(path: Path, change: Callable[[list[int]], None], *, sign: bool = True) -> None:
    words = words_of(path)
    change(words)
    if sign:
        words[5] = zlib.crc32(struct.pack("<5Q", *words[:5]))
    with path.open("r+b") as file:
        file.write(struct.pack("<512Q", *words))


def put(word: int, value: int) -> Callable[[list[int]], None]:
    def change(words: list[int]) -> None:
        words[word] = value

    return change


def over_the_edge(words: list[int]) -> None:
    words[8] = words[2] - 10
    words[11] = words[2] + 1


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: os.truncate(path, 0), "only 0 bytes"),
    "cut in the header": (lambda path: os.truncate(path, 100), "only 100 bytes"),
    "cut in the ring": (lambda path: os.truncate(path, HEADER_BYTES + 1000), "bytes long instead of"),
    "grown": (lambda path: os.truncate(path, HEADER_BYTES + 10**6), "bytes long instead of"),
    "zeros": (lambda path: path.write_bytes(bytes(path.stat().st_size)), "not a ring file"),
    "wrong magic": (lambda path: rewrite(path, put(0, MAGIC + 1)), "not a ring file"),
    "wrong version": (lambda path: rewrite(path, put(1, VERSION + 1)), f"version {VERSION + 1}"),
    "wrong checksum": (lambda path: rewrite(path, put(4, 12345), sign=False), "checksum"),
    "wrong size": (lambda path: rewrite(path, put(2, 2**40)), "bytes long instead of"),
    "no room to read into": (lambda path: rewrite(path, put(3, RETENTION_BYTES + 1)), "positions"),
    "huge retention": (lambda path: rewrite(path, put(3, 2**63)), "positions"),
    "start after head": (lambda path: rewrite(path, put(9, 1000)), "positions"),
    "head beyond all numbers": (lambda path: rewrite(path, put(8, 2**63)), "positions"),
    "memory head beyond all numbers": (lambda path: rewrite(path, put(12, 2**63)), "positions"),
    "guarded beyond what is handed out": (lambda path: rewrite(path, put(11, 12 + SLACK_BYTES)), "positions"),
    "guarded over the edge": (lambda path: rewrite(path, over_the_edge), "positions"),
    "made for a log that never came": (lambda path: rewrite(path, put(12, NEVER_HERE)), "in memory only"),
    "of an older version": (lambda path: rewrite(path, put(1, 1)), "version 1,"),
    "events beyond their area": (lambda path: rewrite(path, put(10, EVENTS_HALF_BYTES + 1)), "events"),
    "a third half of events": (lambda path: rewrite(path, put(10, 2 << 32)), "events"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_set_aside_and_reported(store: FileStore, path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    damage(path)
    content = path.read_bytes()
    with pytest.raises(LogDamaged) as damaged:
        store.open(NAME)
    assert damaged.value.name == NAME
    assert reason in damaged.value.reason
    assert not path.exists()
    aside = path.parent / damaged.value.set_aside
    assert aside.read_bytes() == content
    assert list(store.names()) == []
    with pytest.raises(LogMissing):
        store.open(NAME)
    store.delete(NAME)
    assert aside.exists(), "kept for inspection"


def test_any_bytes_in_the_header_are_a_log_or_damage(store: FileStore, path: Path, rng: random.Random) -> None:
    whole = path.read_bytes()
    for _ in range(300):
        header = bytearray(whole[:100])
        for _ in range(rng.randrange(1, 8)):
            header[rng.randrange(len(header))] = rng.randrange(256)
        path.write_bytes(header + whole[100:])
        try:
            log = store.open(NAME)
        except LogDamaged:
            path.write_bytes(whole)
        else:
            assert log.first <= log.head
            log.read_range(log.first, log.head)
            log.close()


@pytest.mark.usefixtures("path")
def test_without_descriptors_a_log_is_reported_and_left_alone(store: FileStore) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(LogDamaged, match="Too many open files"):
            store.open(NAME)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    log = store.open(NAME)
    assert log.read_range(0, log.head) == b"some output"
    log.close()


def event_lines(path: Path) -> bytes:
    half, used = divmod(words_of(path)[10], 1 << 32)
    start = PAGE_BYTES + half * EVENTS_HALF_BYTES
    return path.read_bytes()[start : start + used]


def replace_events(path: Path, lines: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(lines)
    rewrite(path, put(10, len(lines)))


GOOD = b'[1, 3, "resize", {"rows": 24}, 1.0]\n'
BAD_LINES = {
    "torn": b'[2, 3, "resi',
    "not JSON": b"\xff\xfe\n",
    "not a list": b"{}\n",
    "too short": b"[1, 2]\n",
    "fields no object": b'[2, 3, "resize", 7, 1.0]\n',
    "wrong types": b'["a", [], {}, {}, {}]\n',
    "infinite": b'[Infinity, 3, "resize", {}, 1.0]\n',
    "deep": b"[" * 20_000 + b"\n",
    "beyond the head": b'[2, 1000, "resize", {}, 1.0]\n',
    "before the beginning": b'[2, -1, "resize", {}, 1.0]\n',
}


@pytest.mark.parametrize("kind", BAD_LINES)
def test_a_line_that_is_no_event_is_left_out_and_later_events_are_kept(store: FileStore, path: Path, kind: str) -> None:
    replace_events(path, GOOD + BAD_LINES[kind])
    log = store.open(NAME)
    event = log.last_event("resize", log.head)
    assert event is not None
    assert (event.index, event.position, dict(event.fields), event.at) == (1, 3, {"rows": 24}, 1.0)
    log.append(b"more")
    if not BAD_LINES[kind].endswith(b"\n"):
        log.add_event("mark", {}, 2.0)  # joins the torn line: at most one more is left out
    last = log.add_event("resize", {"rows": 30}, 2.0)
    log.close()
    again = store.open(NAME)
    assert again.last_event("resize", again.head) == last
    again.close()


def test_many_events_keep_within_their_area_and_the_newest_survive(store: FileStore, path: Path) -> None:
    log = store.open(NAME)
    for number in range(3000):
        log.append(b"x")
        log.add_event("resize", {"rows": number, "cols": 80, "client_id": "\N{SNOWMAN}" * 20}, 1.0)
    last = [log.last_event("resize", log.head - back) for back in range(50)]
    content = log.read_range(0, log.head)
    log.close()
    lines = event_lines(path).splitlines()
    assert 50 <= len(lines) <= 3000
    assert json.loads(lines[-1])[3]["rows"] == 2999
    again = store.open(NAME)
    assert [again.last_event("resize", again.head - back) for back in range(50)] == last
    assert again.read_range(0, again.head) == content
    again.close()


def test_deleting_leaves_what_is_not_its_own(store: FileStore, path: Path) -> None:
    (path.parent / "session.json").write_text("{}")
    store.delete(NAME)
    assert [file.name for file in path.parent.iterdir()] == ["session.json"]
    (path.parent / "session.json").unlink()
    store.delete(NAME)
    assert not path.parent.exists()


WRITER = """
import pathlib, random, sys
from replay.file import FileStore
log = FileStore(pathlib.Path(sys.argv[1])).create("killed/main", 256 * 1024)
chance, written = random.Random(int(sys.argv[2])), 0
while True:
    size = chance.choice([1, 10, 1000, 60_000, 150_000])
    piece = (b"%016d" * (size // 16 + 2)) % tuple(range(written // 16, written // 16 + size // 16 + 2))
    log.append(piece[written % 16 :][:size])
    written += size
    sys.stdout.buffer.write(b"%d\\n" % written)
    sys.stdout.buffer.flush()
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_process_leaves_all_it_appended(tmp_path: Path, rng: random.Random, seed: int) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(seed)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert writer.stdout is not None
    wanted = rng.randrange(1000, 3_000_000)
    told = 0
    while told < wanted:
        told = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    for line in writer.stdout:
        told = int(line) if line.endswith(b"\n") else told
    writer.stdout.close()
    poll_until(lambda: writer.poll() is not None, description="the writer is dead")
    log = FileStore(tmp_path).open("killed/main")
    assert log.head >= told, "what append returned for is there"
    first = log.first // 16 + 1
    expected = b"".join(b"%016d" % number for number in range(first, log.head // 16 + 2))
    assert log.read_range(first * 16, log.head) == expected[: log.head - first * 16]
    log.close()
