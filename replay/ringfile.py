"""The ring file: one log's bytes in a file that is mapped into memory. Only this module knows its layout.

Layout, little-endian 64-bit words in a first page of 4096 bytes, then the events, then the ring itself::

    0 magic   8 version   16 ring size   24 retention   32 epoch   40 checksum of words 0-4
    64 head   72 start    80 events      88 guard end    96 memory head    104 stored
    112 writer    128-4095 cells (496 words, the user's)

The head is stored after the bytes it covers, as one aligned 8-byte word. Memory mapped from a file belongs to
the kernel, so a killed process leaves exactly what it had stored. Events are JSON lines in one of two halves of
their area; the events word (`half << 32 | used bytes`) is likewise stored after them. When a half is full, the
newest of its lines begin the other one.

The bytes from the head to the guard end are what the process may be reading into. They were filled with the
guard pattern before, FD and FE in turns, which no UTF-8 text contains; so the last byte that differs from it tells
how much had been read by a process that was killed before it could move the head (`torn_bytes`). That is exact
unless what was read ends in such a byte: a run of equal ones may look one byte shorter than it was.

The memory head is 0 while the log is here. While it goes on in memory for want of room, it is one more than the
position it has come to: a later process begins there, and no position ever stands for two bytes.

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
from replay.event import Event
from replay.log import EVENTS_LIMIT, SLACK_BYTES

if TYPE_CHECKING:
    from pathlib import Path

PAGE_BYTES = 4096
EVENTS_HALF_BYTES = 32 * 1024
HEADER_BYTES = PAGE_BYTES + 2 * EVENTS_HALF_BYTES
"""Where the ring begins."""
VERSION = 2
MAGIC = int.from_bytes(b"TERMRING", "little")
FIRST_STEP_BYTES = 64 * 1024
LARGEST_STEP_BYTES = 4 * 1024 * 1024

NEVER_HERE = 2**64 - 1
"""The memory head in a file made for a log that has not come to it yet."""

_MAGIC, _VERSION, _SIZE, _RETENTION, _EPOCH, _CHECKSUM = range(6)
_HEAD, _START, _EVENTS, _GUARD_END, _MEMORY_HEAD, _STORED, _WRITER = range(8, 15)
_FIRST_CELL = 16
GUARD_BYTES = b"\xfd\xfe"
"""Not FF, which is the most frequent byte in binary data that no text contains."""
_PATTERN = memoryview(GUARD_BYTES * (SLACK_BYTES // 2 + 1))


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
        self.cells = self._words[_FIRST_CELL:]
        self._halves = (whole[PAGE_BYTES:][:EVENTS_HALF_BYTES], whole[:HEADER_BYTES][-EVENTS_HALF_BYTES:])
        self.view = whole[HEADER_BYTES:]
        self._allocated = 0
        self._closed = False

    @classmethod
    def create(cls, path: Path, *, size: int, retention_bytes: int, epoch: int, is_late: bool) -> RingFile:
        """Make a new file; `is_late` for a log that is in memory yet. Raises StorageFull, FileExistsError."""
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
        words[_MEMORY_HEAD] = NEVER_HERE if is_late else 0
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
        ring._allocated = 0 if _ALLOCATING_KEEPS_CONTENT else min(max(ring.head, ring.guard_end), len(ring.view))
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
        if words[_MEMORY_HEAD] == NEVER_HERE:
            raise Damage("its log was in memory only")
        head, size = words[_HEAD], words[_SIZE]
        if words[_START] > max(head, words[_MEMORY_HEAD] - 1) or words[_RETENTION] + SLACK_BYTES > size:
            raise Damage("positions contradict each other")
        if max(head, words[_MEMORY_HEAD]) >> 63 or words[_GUARD_END] > head + min(SLACK_BYTES, size - head % size):
            raise Damage("positions out of bounds")
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

    @property
    def guard_end(self) -> int:
        """Up to where the bytes after the head were guarded."""
        return self._words[_GUARD_END]

    @property
    def memory_head(self) -> int | None:
        """How far the log has gone on in memory; None if it is here."""
        return self._words[_MEMORY_HEAD] - 1 if self._words[_MEMORY_HEAD] else None

    @property
    def torn_bytes(self) -> int:
        """How many bytes after the head were read by a process that did not live to publish them."""
        offset = self.head % len(self.view)
        guarded = self.view[offset : offset + max(0, self.guard_end - self.head)]
        pattern = _PATTERN[offset & 1 :][: len(guarded)]
        differing = int.from_bytes(guarded, "little") ^ int.from_bytes(pattern, "little")
        return (differing.bit_length() + 7) // 8

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

    def guard(self, begin: int, end: int) -> None:
        """Fill the bytes from position `begin` to `end` with the pattern; those before are as they are."""
        offset, length = begin % len(self.view), end - begin
        self.view[offset : offset + length] = _PATTERN[offset & 1 :][:length]
        self._words[_GUARD_END] = end

    def publish(self, start: int, head: int) -> None:
        """Store where the log begins and ends."""
        self._words[_START] = start
        self._words[_HEAD] = head

    def note_memory_head(self, head: int | None) -> None:
        """Store how far the log has gone on in memory: in the first page, which needs no room."""
        self._words[_MEMORY_HEAD] = 0 if head is None else head + 1

    @property
    def stored(self) -> int:
        """How far a keeper had copied the log: a hint, which nobody relies on."""
        return self._words[_STORED]

    def note_stored(self, position: int) -> None:
        """Store how far a keeper has copied the log."""
        self._words[_STORED] = position

    @property
    def writer(self) -> int:
        """The number of the keeper that copied it last."""
        return self._words[_WRITER]

    def note_writer(self, number: int) -> None:
        """Store the number of the keeper that copies it now."""
        self._words[_WRITER] = number

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
        for view in (self.cells, self._words, *self._halves, self.view):
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
