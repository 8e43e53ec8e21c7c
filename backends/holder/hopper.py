"""The hopper of a PTY: what input goes through so that it is known how much of it the terminal has ever taken.

A process that is killed between writing to a terminal and noting it leaves its successor in doubt. So input is not
written: it is laid into a small file without a name, and the kernel moves it from there into the terminal
(sendfile(2)). That moves the file's own position by exactly what the terminal took, in the same system call, and
the position belongs to the open file, not to a process: whoever has a duplicate of the descriptor can ask it.

The file, in native byte order: 64 bytes of words, then a ring. Byte `p` of all input (from 0) is laid at `p` modulo
the ring's size::

    0 written   8 offered   16 plain        64 ring, up to HOPPER_BYTES

`written` is stored after each move, which is shorter than the ring: so it and the file's position together say
what is true at any moment, and asking changes nothing. What the terminal took is wiped: it may be a password.

Where the kernel cannot move a file into a terminal (`plain` is 1: not Linux, Linux 5.10, some sandboxes), input is
written, at most `PIECE_BYTES` at a time, between storing `offered` (where this piece will end) and `written`. Killed
in that moment: the piece counts as written. Typed again it might run a command twice; not typed, a person sees it.

Standard library only and Python 3.8, because the process that makes and keeps these files is.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys

HOPPER_BYTES = 16 * 1024
"""Size of the file; memory is used for what is ever stored to, page by page."""

PIECE_BYTES = 4096
"""The most that is moved at a time."""

_WRITTEN, _OFFERED, _PLAIN = range(3)
_HEADER_BYTES = 64
_RING_BYTES = HOPPER_BYTES - _HEADER_BYTES
_ZEROS = bytes(PIECE_BYTES)
_CANNOT_MOVE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


def make_hopper() -> int:
    """Return a descriptor of a new, empty hopper, for whoever outlives the process that types. Raises OSError."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("terminal-input", os.MFD_CLOEXEC)
    else:
        import tempfile  # noqa: PLC0415 - as large as a third of a holder

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, HOPPER_BYTES)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _map(descriptor: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, HOPPER_BYTES, trackfd=False)
    return mmap.mmap(descriptor, HOPPER_BYTES)  # keeps a duplicate of the descriptor


class Hopper:
    """Writes to a terminal, and counts; one process at a time. Made anew on the same file it goes on exactly."""

    def __init__(self, master: int, descriptor: int | None = None) -> None:
        """Take over a hopper's descriptor, new or used (None: count in memory), to write to `master`.

        The master must be non-blocking; it stays the caller's. Raises OSError (no memory or descriptor left);
        then nothing was taken over. Whoever used the hopper before must have ended.
        """
        self._master = master
        self._descriptor = descriptor
        self._map = None if descriptor is None else _map(descriptor)
        self._memory = memoryview(bytearray(_HEADER_BYTES) if self._map is None else self._map)
        self._words = self._memory[:_HEADER_BYTES].cast("Q")
        if descriptor is None or not hasattr(os, "sendfile") or sys.platform != "linux":
            self._words[_PLAIN] = 1
        self._is_plain = bool(self._words[_PLAIN])
        self.in_doubt = 0
        """Bytes that an earlier process was just writing: they count as written, and may not have been."""
        self.written = self._find_written()
        """How many bytes of input the terminal has ever taken."""

    def _find_written(self) -> int:
        words = self._words
        written = words[_WRITTEN]
        if self._descriptor is None:
            return written
        if self._is_plain:
            self.in_doubt = max(words[_OFFERED] - written, 0)
            written += self.in_doubt
        else:
            position = max(os.lseek(self._descriptor, 0, os.SEEK_CUR), _HEADER_BYTES)
            written += (position - _HEADER_BYTES - written) % _RING_BYTES
        words[_WRITTEN] = written
        self._memory[_HEADER_BYTES:] = bytes(_RING_BYTES)
        return written

    def pour(self, data: bytes | memoryview) -> int:
        """Write what the terminal takes without blocking; return how many bytes that is."""
        if self._is_plain:
            return self._write(memoryview(data))
        memory, written, size, poured = self._memory, self.written, len(data), 0
        while poured < size:
            offset = _HEADER_BYTES + written % _RING_BYTES
            if offset == _HEADER_BYTES:  # from the end of the ring, which is the same place, or of a new file
                os.lseek(self._descriptor, offset, os.SEEK_SET)  # type: ignore[arg-type]
            piece = min(size - poured, PIECE_BYTES, HOPPER_BYTES - offset)
            memory[offset : offset + piece] = data[poured : poured + piece]
            try:
                taken = self._move(piece)
            finally:
                memory[offset : offset + piece] = _ZEROS[:piece]
            if taken < 0:
                self._words[_PLAIN] = self._is_plain = True
                return poured + self._write(memoryview(data)[poured:])
            written += taken
            self._words[_WRITTEN] = self.written = written
            poured += taken
            if taken < piece:
                break
        return poured

    def _move(self, piece: int) -> int:
        """Let the terminal take what was laid in; -1 where the kernel cannot do so."""
        try:
            return os.sendfile(self._master, self._descriptor, None, piece)  # type: ignore[arg-type]
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno in _CANNOT_MOVE:
                return -1
            raise

    def _write(self, data: memoryview) -> int:
        """Do the same as far as possible where the kernel cannot move."""
        words, begun = self._words, self.written
        end = begun + len(data)
        while self.written < end:
            start = self.written - begun
            piece = data[start : start + PIECE_BYTES]
            words[_OFFERED] = self.written + len(piece)
            try:
                taken = os.write(self._master, piece)
            except BlockingIOError:
                taken = 0
            words[_OFFERED] = self.written + taken
            self.written += taken
            words[_WRITTEN] = self.written
            if taken < len(piece):
                break
        return self.written - begun

    def close(self) -> None:
        """Release the file, which others may still have; closing twice is harmless."""
        self._words.release()
        self._memory.release()
        if self._map is not None:
            self._map.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
