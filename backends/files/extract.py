"""Unpacks archives from places nobody trusts into a directory, and nowhere else.

Only files, directories and links inside of the archive's own tree are made. Nothing that exists is written to or
replaced, and no link is ever walked through: each directory is opened from the one above it, by a name that may
not be a link. That an archive's links cannot lead outside afterwards either is proved at `_check_target`.
Users, special bits and the right of others to write are not taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, TypeVar

from backends.abilities import FileError, FileTrouble
from backends.files.tar import Decoder, Entry, EntryKind, Limits, RefusedTar

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterator
    from pathlib import Path

_Result = TypeVar("_Result")

_MAX_DEPTH = 256
_MODE_BITS = 0o755
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP})

_TROUBLES = {
    errno.ENOENT: FileTrouble.MISSING,
    errno.EEXIST: FileTrouble.EXISTS,
    errno.EACCES: FileTrouble.DENIED,
    errno.EPERM: FileTrouble.DENIED,
    errno.EROFS: FileTrouble.DENIED,
    errno.ENOTDIR: FileTrouble.WRONG_KIND,
    errno.EISDIR: FileTrouble.WRONG_KIND,
    errno.ELOOP: FileTrouble.WRONG_KIND,
    errno.ENOTEMPTY: FileTrouble.NOT_EMPTY,
    errno.ENOSPC: FileTrouble.FULL,
    errno.EDQUOT: FileTrouble.FULL,
}


def file_error(path: str, error: OSError) -> FileError:
    """Say what the system said, as the contract of files has it."""
    trouble = _TROUBLES.get(error.errno or 0, FileTrouble.FAILED)
    return FileError(path, trouble, error.strerror or str(error))


async def extract(pieces: AsyncIterable[bytes], directory: Path, limits: Limits | None = None) -> int:
    """Unpack an archive into a directory that exists; return how many entries it had.

    Raises TarError, FileError (in the way is something that exists, or the disk is full), and what the source of
    the pieces raises. What was unpacked until then is left: give it a directory of its own.
    """
    extraction = Extraction(limits)
    try:
        await _in_thread(lambda: extraction.open(directory))
        async for piece in pieces:
            await _in_thread(lambda data=piece: extraction.feed(data))  # type: ignore[misc] # the default is bytes
        return await _in_thread(extraction.finish)
    finally:
        await _in_thread(extraction.close)


class Extraction:
    """Unpacks as the archive comes; every call may wait for a disk."""

    def __init__(self, limits: Limits | None = None) -> None:
        """Limit how much is unpacked."""
        self._decoder = Decoder(limits)
        self._root = -1
        self._file = -1
        self._entry: Entry | None = None
        self._left = 0
        self._count = 0
        self._links: list[tuple[list[str], str]] = []

    def open(self, directory: Path) -> None:
        """Open the directory to unpack into. Raises FileError."""
        try:
            self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise file_error(str(directory), error) from error

    def feed(self, data: bytes) -> None:
        """Unpack the next piece. Raises TarError, FileError."""
        for event in self._decoder.feed(data):
            if isinstance(event, Entry):
                self._begin(event)
            else:
                self._continue(event)

    def finish(self) -> int:
        """Make the links; return how many entries there were. Raises TarError (something is missing), FileError."""
        self._decoder.close()
        for parts, target in self._links:
            with self._at("/".join(parts)), self._parent(parts) as parent:
                os.symlink(target, parts[-1], dir_fd=parent)
        return self._count

    def close(self) -> None:
        """Close what is open."""
        for descriptor in (self._file, self._root):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._root = -1

    def _begin(self, entry: Entry) -> None:
        self._count += 1
        self._entry = entry
        self._left = entry.size
        parts = _parts(entry.name, entry)
        if not parts and entry.kind is not EntryKind.DIRECTORY:
            raise RefusedTar(entry.name, "it would be the directory itself")
        with self._at(entry.name):
            if entry.kind is EntryKind.DIRECTORY:
                os.close(self._walk(parts, entry.mode))
            elif entry.kind is EntryKind.FILE:
                self._create(parts)
            elif entry.kind is EntryKind.LINK:
                _check_target(entry, parts)
                self._links.append((parts, entry.target))
            elif entry.kind is EntryKind.HARD_LINK:
                self._link(entry, parts)
            else:
                raise RefusedTar(entry.name, f"a {entry.kind.name.lower().replace('_', ' ')}")

    def _create(self, parts: list[str]) -> None:
        with self._parent(parts) as parent:
            self._file = os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=parent)
        if not self._left:
            self._complete()

    def _continue(self, data: bytes) -> None:
        if self._entry is None:
            raise AssertionError("content without an entry")
        with self._at(self._entry.name):
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
            self._left -= len(data)
            if not self._left:
                self._complete()

    def _complete(self) -> None:
        entry = self._entry
        if entry is None:
            raise AssertionError("no file to complete")
        os.fchmod(self._file, entry.mode & _MODE_BITS)
        with contextlib.suppress(OverflowError):  # a time that this system cannot keep
            os.utime(self._file, (entry.modified_at, entry.modified_at))
        descriptor, self._file = self._file, -1
        os.close(descriptor)

    def _link(self, entry: Entry, parts: list[str]) -> None:
        """Give a file a second name. Links come last, so none of the archive's is there to be linked to."""
        target = _parts(entry.target, entry)
        if not target:
            raise RefusedTar(entry.name, f"a hard link to {entry.target!r}")
        with self._parent(target, make=False) as source:
            found = os.stat(target[-1], dir_fd=source, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise RefusedTar(entry.name, f"a hard link to {entry.target!r}, which is no file")
            with self._parent(parts) as parent:
                os.link(target[-1], parts[-1], src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)

    @contextlib.contextmanager
    def _parent(self, parts: list[str], *, make: bool = True) -> Iterator[int]:
        descriptor = self._walk(parts[:-1], make=make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _walk(self, parts: list[str], mode: int | None = None, *, make: bool = True) -> int:
        """Open a directory, step by step; make what is missing. `mode`: of the last one, if it is made."""
        here = os.dup(self._root)
        try:
            for depth, part in enumerate(parts, 1):
                if make:
                    last = mode is not None and depth == len(parts)
                    self._make(part, here, mode if last and mode is not None else _MODE_BITS)
                below = os.open(part, _DIRECTORY, dir_fd=here)
                os.close(here)
                here = below
        except BaseException:
            os.close(here)
            raise
        return here

    @staticmethod
    def _make(name: str, parent: int, mode: int) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode & _MODE_BITS | 0o700, dir_fd=parent)

    @contextlib.contextmanager
    def _at(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _NO_DIRECTORY:
                raise RefusedTar(name, "it leads through something that is no directory, a link perhaps") from error
            raise file_error(name, error) from error


def _parts(name: str, entry: Entry) -> list[str]:
    """Split a name into steps. Raises RefusedTar: it may lead outside."""
    if name.startswith("/"):
        raise RefusedTar(entry.name, f"{name!r} is absolute")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RefusedTar(entry.name, f"{name!r} has `..`")
    if len(parts) > _MAX_DEPTH:
        raise RefusedTar(entry.name, f"deeper than {_MAX_DEPTH} directories")
    return parts


def _check_target(entry: Entry, parts: list[str]) -> None:
    """Refuse a link that may lead out of the tree.

    It may begin with as many `..` as there are directories above it, and have none further on. Those above are real
    directories, so the `..` lead where they seem to, which is inside; each further step goes down, or over a link,
    of which the same is true. Behind a link, though, `..` leads where nobody can tell from the names.
    """
    steps = [step for step in entry.target.split("/") if step not in ("", ".")]
    ups = next((count for count, step in enumerate(steps) if step != ".."), len(steps))
    if not entry.target or entry.target.startswith("/") or ups > len(parts) - 1 or ".." in steps[ups:]:
        raise RefusedTar(entry.name, f"its target {entry.target!r} may lead outside")


async def _in_thread(call: Callable[[], _Result]) -> _Result:
    """Call it in a thread, and return only when it has returned, also if nobody waits any longer."""
    calling = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.wait([calling])
        raise
