"""The ring file: one log's bytes in a file that is mapped into memory. Only this module knows its layout.

Layout, little-endian 64-bit words in a first page of 4096 bytes, then the events, then the ring itself::

    0 magic   8 version   16 ring size   24 retention   32 epoch   40 checksum of words 0-4
    64 head   72 start    80 events

The head is stored after the bytes it covers, as one aligned 8-byte word. Memory mapped from a file belongs to
the kernel, so a killed process leaves exactly what it had stored. Events are JSON lines in one of two halves of
their area; the events word (`half << 32 | used bytes`) is likewise stored after them. When a half is full, the
newest of its lines begin the other one.

A store into a hole of a file on a full disk is a SIGBUS, not an error; blocks are therefore allocated
(`posix_fallocate`) before the head may reach them, in steps that double, so that an idle log costs little.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import sys
import zlib
from typing import TYPE_CHECKING

from replay.errors import StorageFull
from replay.log import EVENTS_LIMIT, SLACK_BYTES, Event

if TYPE_CHECKING:
    from pathlib import Path

PAGE_BYTES = 4096
EVENTS_HALF_BYTES = 32 * 1024
HEADER_BYTES = PAGE_BYTES + 2 * EVENTS_HALF_BYTES
"""Where the ring begins."""
VERSION = 1
MAGIC = int.from_bytes(b"TERMRING", "little")
FIRST_STEP_BYTES = 64 * 1024
LARGEST_STEP_BYTES = 4 * 1024 * 1024

_MAGIC, _VERSION, _SIZE, _RETENTION, _EPOCH, _CHECKSUM, _HEAD, _START, _EVENTS = 0, 1, 2, 3, 4, 5, 8, 9, 10


class Damage(Exception):
    """A ring file is not what it should be; the message says what is wrong."""


class RingFile:
    """A ring in a file. Private (mode 0600)."""

    def __init__(self, path: Path, mapping: mmap.mmap) -> None:
        """Use `create` or `open` instead."""
        self._path = path
        self._map = mapping
        whole = memoryview(mapping)
        self._words = whole[:PAGE_BYTES].cast("Q")
        self._halves = (whole[PAGE_BYTES:][:EVENTS_HALF_BYTES], whole[:HEADER_BYTES][-EVENTS_HALF_BYTES:])
        self.view = whole[HEADER_BYTES:]
        self._allocated = 0
        self._closed = False

    @classmethod
    def create(cls, path: Path, *, size: int, retention_bytes: int, epoch: int) -> RingFile:
        """Make a new file. Raises StorageFull, FileExistsError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise
        except OSError as error:
            raise StorageFull(str(error)) from error
        try:
            os.ftruncate(descriptor, HEADER_BYTES + size)
            _allocate(descriptor, 0, HEADER_BYTES + min(size, FIRST_STEP_BYTES))
            ring = cls(path, mmap.mmap(descriptor, HEADER_BYTES + size))
        except OSError as error:
            path.unlink()
            raise StorageFull(str(error)) from error
        finally:
            os.close(descriptor)
        _read_ahead(ring._map, wanted=False)
        ring._allocated = min(size, FIRST_STEP_BYTES)
        words = ring._words
        words[_MAGIC], words[_VERSION], words[_SIZE] = MAGIC, VERSION, size
        words[_RETENTION], words[_EPOCH] = retention_bytes, epoch
        words[_CHECKSUM] = _checksum(words)
        return ring

    @classmethod
    def open(cls, path: Path) -> RingFile:
        """Map an existing file. Raises Damage, OSError."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            length = os.fstat(descriptor).st_size
            if length < HEADER_BYTES:
                raise Damage(f"only {length} bytes long")
            ring = cls(path, mmap.mmap(descriptor, length))
        finally:
            os.close(descriptor)
        try:
            ring._check(length)
        except Damage:
            ring.close()
            raise
        ring._allocated = 0 if _ALLOCATING_KEEPS_CONTENT else min(ring.head, len(ring.view))
        return ring

    def _check(self, length: int) -> None:
        words = self._words
        if words[_MAGIC] != MAGIC:
            raise Damage("not a ring file")
        if words[_VERSION] != VERSION:
            raise Damage(f"version {words[_VERSION]}, this is {VERSION}")
        if words[_CHECKSUM] != _checksum(words):
            raise Damage("header checksum does not match")
        if words[_SIZE] + HEADER_BYTES != length:
            raise Damage(f"{length} bytes long instead of {words[_SIZE] + HEADER_BYTES}")
        if words[_START] > words[_HEAD] or words[_RETENTION] + SLACK_BYTES > words[_SIZE]:
            raise Damage("positions contradict each other")
        if words[_EVENTS] >> 32 > 1 or words[_EVENTS] & 0xFFFFFFFF > EVENTS_HALF_BYTES:
            raise Damage("events outside their area")

    @property
    def retention_bytes(self) -> int:
        """How much of the ring is kept for readers."""
        return self._words[_RETENTION]

    @property
    def epoch(self) -> int:
        """The number that names this history."""
        return self._words[_EPOCH]

    @property
    def head(self) -> int:
        """The position last published."""
        return self._words[_HEAD]

    @property
    def start(self) -> int:
        """The oldest position that ever was (or was kept by a trim)."""
        return self._words[_START]

    def ensure(self, end: int) -> None:
        """Allocate blocks below `end`. Raises StorageFull."""
        if end <= self._allocated:
            return
        step = min(max(self._allocated, FIRST_STEP_BYTES), LARGEST_STEP_BYTES)
        generous = min(max(end, self._allocated + step), len(self.view))
        try:
            descriptor = os.open(self._path, os.O_RDWR)
        except OSError as error:
            raise StorageFull(str(error)) from error
        try:
            for target in (generous, end):
                try:
                    _allocate(descriptor, HEADER_BYTES + self._allocated, target - self._allocated)
                except OSError as error:
                    if target == end or error.errno != errno.ENOSPC:
                        raise StorageFull(str(error)) from error
                else:
                    self._allocated = target
                    if step == LARGEST_STEP_BYTES:
                        _read_ahead(self._map, wanted=True)
                    return
        finally:
            os.close(descriptor)

    def publish(self, start: int, head: int) -> None:
        """Store where the log begins and ends."""
        self._words[_START] = start
        self._words[_HEAD] = head

    def record(self, event: Event) -> None:
        """Store an event behind the others; when there are too many, the oldest go."""
        fields = [event.index, event.position, event.kind, dict(event.fields), event.at]
        line = json.dumps(fields).encode() + b"\n"
        if len(line) > EVENTS_HALF_BYTES // 2:
            raise AssertionError("an event is a small thing")
        half, used = divmod(self._words[_EVENTS], 1 << 32)
        if used + len(line) > EVENTS_HALF_BYTES:
            kept = self._newest_lines(EVENTS_HALF_BYTES // 2)
            half, used = 1 - half, len(kept)
            self._halves[half][:used] = kept
        self._halves[half][used : used + len(line)] = line
        self._words[_EVENTS] = half << 32 | used + len(line)

    def events(self) -> tuple[Event, ...]:
        """Return the recorded events, oldest first; what is not an event of this log is left out."""
        found = [_parse_event(line) for line in self._event_lines().splitlines()]
        by_place = {(e.position, e.kind): e for e in found if e is not None and 0 <= e.position <= self.head}
        return tuple(sorted(by_place.values(), key=lambda event: event.index)[-EVENTS_LIMIT:])

    def _event_lines(self) -> bytes:
        half, used = divmod(self._words[_EVENTS], 1 << 32)
        return bytes(self._halves[half][:used])

    def _newest_lines(self, limit: int) -> bytes:
        lines = self._event_lines()
        return lines if len(lines) <= limit else lines[lines.index(b"\n", len(lines) - limit - 1) + 1 :]

    def close(self) -> None:
        """Unmap; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        for view in (self._words, *self._halves, self.view):
            view.release()
        with contextlib.suppress(BufferError):  # a reader still holds a slice: the mapping goes with it
            self._map.close()
        del self._map


def _checksum(words: memoryview) -> int:
    return zlib.crc32(words[:_CHECKSUM].tobytes())


def _parse_event(line: bytes) -> Event | None:
    try:
        index, position, kind, fields, at = json.loads(line)
        return Event(int(index), int(position), str(kind), dict(fields), float(at))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None  # a torn or foreign line: the output is worth more than its marks


_ALLOCATING_KEEPS_CONTENT = sys.platform not in ("win32", "darwin")

if sys.platform in ("win32", "darwin"):

    def _read_ahead(mapping: mmap.mmap, *, wanted: bool) -> None:
        """Leave it to the system."""

    def _allocate(descriptor: int, offset: int, length: int) -> None:
        """Write zeros where the system has no posix_fallocate; these blocks were never stored to before."""
        os.lseek(descriptor, offset, os.SEEK_SET)
        step = bytes(min(length, 1 << 20))
        while length > 0:
            length -= os.write(descriptor, step[:length])
else:

    def _read_ahead(mapping: mmap.mmap, *, wanted: bool) -> None:
        """Choose whether the first store to a page prepares the pages around it too (madvise(2)).

        How many is the disk's read_ahead_kb. That makes the first lap of a flood cheaper by a third; but where it
        is 8 MiB, the first byte of every session cost 3 ms and 4 MiB of memory.
        """
        mapping.madvise(mmap.MADV_NORMAL if wanted else mmap.MADV_RANDOM)

    def _allocate(descriptor: int, offset: int, length: int) -> None:
        """Allocate blocks without changing what they hold (posix_fallocate(3); raises OSError ENOSPC)."""
        os.posix_fallocate(descriptor, offset, length)
