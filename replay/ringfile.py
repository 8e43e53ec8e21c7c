"""The ring file: one log's bytes in a file that is mapped into memory. Only this module knows its layout.

Layout, little-endian 64-bit words in a first page of 4096 bytes, then the ring itself::

    0 magic   8 version   16 ring size   24 retention   32 epoch   40 checksum of words 0-4
    64 head   72 start

The head is stored after the bytes it covers, as one aligned 8-byte word. Memory mapped from a file belongs to
the kernel, so a killed process leaves exactly what it had stored.

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
from replay.log import Event

if TYPE_CHECKING:
    from pathlib import Path

HEADER_BYTES = 4096
VERSION = 1
MAGIC = int.from_bytes(b"TERMRING", "little")
FIRST_STEP_BYTES = 64 * 1024
LARGEST_STEP_BYTES = 4 * 1024 * 1024
EVENTS_FILE_LIMIT_BYTES = 256 * 1024

_MAGIC, _VERSION, _SIZE, _RETENTION, _EPOCH, _CHECKSUM, _HEAD, _START = 0, 1, 2, 3, 4, 5, 8, 9


class Damage(Exception):
    """A ring file is not what it should be; the message says what is wrong."""


class RingFile:
    """A ring in a file. Private (mode 0600). Events go to a second file beside it, a JSON line each."""

    def __init__(self, path: Path, mapping: mmap.mmap) -> None:
        """Use `create` or `open` instead."""
        self._path = path
        self._map = mapping
        whole = memoryview(mapping)
        self._words = whole[:HEADER_BYTES].cast("Q")
        self.view = whole[HEADER_BYTES:]
        self._allocated = 0
        self._closed = False

    @classmethod
    def create(cls, path: Path, *, size: int, retention_bytes: int, epoch: int) -> RingFile:
        """Make a new file. Raises StorageFull, FileExistsError."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
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
        ring._allocated = min(size, FIRST_STEP_BYTES)
        words = ring._words
        words[_MAGIC], words[_VERSION], words[_SIZE] = MAGIC, VERSION, size
        words[_RETENTION], words[_EPOCH] = retention_bytes, epoch
        words[_CHECKSUM] = _checksum(words)
        return ring

    @classmethod
    def open(cls, path: Path) -> RingFile:
        """Map an existing file. Raises Damage, OSError."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
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
        if not words[_START] <= words[_HEAD] or words[_RETENTION] >= words[_SIZE]:
            raise Damage("positions contradict each other")

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
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
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
                    return
        finally:
            os.close(descriptor)

    def publish(self, start: int, head: int) -> None:
        """Store where the log begins and ends."""
        self._words[_START] = start
        self._words[_HEAD] = head

    def record(self, event: Event) -> None:
        """Append an event to the file of events. Raises StorageFull."""
        line = json.dumps([event.index, event.position, event.kind, dict(event.fields), event.at])
        path = self._events_path
        try:
            if path.exists() and path.stat().st_size > EVENTS_FILE_LIMIT_BYTES:
                self._shorten_events()
            with open(path, "a", encoding="utf-8", opener=_open_private) as file:
                file.write(line + "\n")
        except OSError as error:
            raise StorageFull(str(error)) from error

    def events(self) -> tuple[Event, ...]:
        """Return the recorded events; a line cut short by a crash, and all after it, is left out."""
        events: list[Event] = []
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            for line in self._events_path.read_text(encoding="utf-8").splitlines():
                index, position, kind, fields, at = json.loads(line)
                events.append(Event(index, position, kind, fields, at))
        by_place = {(event.position, event.kind): event for event in events if event.position <= self.head}
        return tuple(sorted(by_place.values(), key=lambda event: event.index))

    @property
    def _events_path(self) -> Path:
        return self._path.with_suffix(".events")

    def _shorten_events(self) -> None:
        lines = self._events_path.read_text(encoding="utf-8").splitlines(keepends=True)
        shorter = self._events_path.with_suffix(".tmp")
        with open(shorter, "w", encoding="utf-8", opener=_open_private) as file:
            file.writelines(lines[len(lines) // 2 :])
        shorter.replace(self._events_path)

    def close(self) -> None:
        """Unmap; closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        self._words.release()
        self.view.release()
        with contextlib.suppress(BufferError):  # a reader still holds a slice: the mapping goes with it
            self._map.close()


def _checksum(words: memoryview) -> int:
    return zlib.crc32(words[:_CHECKSUM].tobytes())


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


if sys.platform in ("win32", "darwin"):

    def _allocate(descriptor: int, offset: int, length: int) -> None:
        """Write zeros where the system has no posix_fallocate; these blocks were never stored to before."""
        os.lseek(descriptor, offset, os.SEEK_SET)
        step = bytes(min(length, 1 << 20))
        while length > 0:
            length -= os.write(descriptor, step[:length])
else:

    def _allocate(descriptor: int, offset: int, length: int) -> None:
        """Allocate blocks without changing what they hold (posix_fallocate(3); raises OSError ENOSPC)."""
        os.posix_fallocate(descriptor, offset, length)
