"""Files of any place that runs commands: nothing but sh and common tools is needed there (`scripts`)."""

from __future__ import annotations

import asyncio
import posixpath
import re
import secrets
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from backends.abilities import Channel, Command, FileError, FileInfo, FileTrouble
from backends.errors import BackendError, InvalidProgram, Unreachable
from backends.files import scripts
from backends.files.records import read_records

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence

    from backends.abilities import Execution, Executor
    from backends.base import ExitStatus

PIECE_BYTES = 256 * 1024

_BLOCK_BYTES = 64 * 1024
_FRAME_BLOCKS = 16
"""So many blocks there pass through one process; a process for each piece would cost more than the bytes."""

_MAX_ANSWER_BYTES = 64 << 20
"""Of a directory's listing: some 500,000 files."""

_MAX_SAID_BYTES = 4096
"""What is kept of the messages."""

_KILLED = 128
"""An exit code from here on may mean a signal."""

_DISCARD_SECONDS = 10.0
"""How long the rest of a broken transfer is tried to be removed."""

_MESSAGES = (
    (re.compile(r"no space left|quota exceeded", re.IGNORECASE), FileTrouble.FULL),
    (re.compile(r"permission denied|not permitted|read-only file", re.IGNORECASE), FileTrouble.DENIED),
    (re.compile(r"no such file|nonexistent", re.IGNORECASE), FileTrouble.MISSING),
    (re.compile(r"not empty", re.IGNORECASE), FileTrouble.NOT_EMPTY),
    (re.compile(r"(is a|not a) directory", re.IGNORECASE), FileTrouble.WRONG_KIND),
)
"""What remains to be told by its words, which are those of LC_ALL=C: it came up after all was looked at."""


class ExecFiles:
    """`abilities.Files` by commands. A file that is written is only ever there whole; behind a link, the link stays.

    Trees go through as tar archives: `pack` and `unpack`. `user`: whose rights count; None: as the executor has it.
    """

    def __init__(self, executor: Executor, user: str | None = None) -> None:
        """Work where this executor runs commands."""
        self._executor = executor
        self._user = user

    async def stat(self, path: str) -> FileInfo:
        """Tell what is at a path."""
        infos = self._records(path, await self._run(scripts.STAT, path))
        if not infos:
            raise FileError(path, *scripts.TROUBLES[scripts.MISSING])
        return _moved(infos[0], path)

    async def list(self, path: str) -> Sequence[FileInfo]:
        """Tell what is in a directory."""
        infos = self._records(path, await self._run(scripts.LIST, path))
        return sorted(
            (_moved(info, posixpath.join(path, info.path.removeprefix("./"))) for info in infos),
            key=lambda info: info.path,
        )

    async def read(self, path: str, *, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield a file's bytes."""
        async with aclosing(self._pull(scripts.READ, path, str(offset))) as pieces:
            async for piece in pieces:
                yield piece

    async def write(self, path: str, pieces: AsyncIterable[bytes], *, mode: int = 0o644) -> int:
        """Put these bytes in place of a file, by way of another one in its directory."""
        _argument(path)
        if posixpath.basename(path.rstrip("/")) in ("", ".", ".."):
            raise FileError(path, *scripts.TROUBLES[scripts.WRONG_KIND])
        part = secrets.token_hex(8)
        return await self._push(scripts.WRITE, path, pieces, part, f"{mode & 0o7777:04o}", part=part)

    async def make_directory(self, path: str, *, parents: bool = False) -> None:
        """Make a directory."""
        await self._run(scripts.MAKE_DIRECTORY, path, "parents" if parents else "one")

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove what is at a path."""
        if not path.strip("/") and path:
            raise FileError(path, FileTrouble.DENIED, "that would be everything")
        await self._run(scripts.REMOVE, path, "recursive" if recursive else "one")

    async def rename(self, path: str, target: str) -> None:
        """Move a file or directory."""
        await self._run(scripts.RENAME, path, _argument(target), target=target)

    async def pack(self, path: str) -> AsyncGenerator[bytes, None]:
        """Yield what is in a directory as a tar archive, whose names begin with `./`. Raises FileError."""
        async with aclosing(self._pull(scripts.PACK, path)) as pieces:
            async for piece in pieces:
                yield piece

    async def unpack(self, path: str, pieces: AsyncIterable[bytes]) -> None:
        """Unpack a tar archive into a directory, by that machine's own tar. Raises FileError."""
        await self._push(scripts.UNPACK, path, pieces)

    @asynccontextmanager
    async def _started(self, script: str, *arguments: str) -> AsyncIterator[Execution]:
        command = Command(("sh", "-c", script, "sh", *arguments), user=self._user)
        execution = await self._executor.execute(command)
        try:
            yield execution
        finally:
            await execution.close()

    async def _run(self, script: str, path: str, *arguments: str, target: str = "") -> bytes:
        """Run a script to its end; return what it prints."""
        async with self._started(script, _argument(path), *arguments) as execution:
            printed, said = await _collect(execution, path)
            _check(await execution.wait(), said, path, target)
            return printed

    async def _pull(self, script: str, path: str, *arguments: str) -> AsyncGenerator[bytes, None]:
        """Run a script to its end; yield what it prints as it comes."""
        said = b""
        async with self._started(script, _argument(path), *arguments) as execution:
            async for channel, data in execution:
                if channel is Channel.STDERR:
                    said = (said + data)[-_MAX_SAID_BYTES:]
                    continue
                for at in range(0, len(data), PIECE_BYTES):
                    yield data[at : at + PIECE_BYTES]
            _check(await execution.wait(), said, path)

    async def _push(self, script: str, path: str, pieces: AsyncIterable[bytes], *arguments: str, part: str = "") -> int:
        """Run a script that takes frames; return how many bytes it was given in them.

        `part`: names what the script leaves behind if it is not let come to an end.
        """
        has_ended = False
        try:
            async with self._started(script, _argument(path), *arguments) as execution:
                sent, said = await _exchange(execution, path, pieces)
                status = await execution.wait()
                has_ended = status.code is not None and status.code < _KILLED
            _check(status, said, path)
        finally:
            if part and not has_ended:
                await self._discard(path, part)
        if sent is None:
            raise FileError(path, FileTrouble.FAILED, "the command there ended before it had everything")
        return sent

    async def _discard(self, path: str, part: str) -> None:
        # Where it cannot be reached now, its own shell has read the end of its input, and removes it itself.
        with suppress(BackendError, TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                await self._run(scripts.DISCARD, path, part)

    @staticmethod
    def _records(path: str, printed: bytes) -> Sequence[FileInfo]:
        try:
            return read_records(printed)
        except ValueError as error:
            raise FileError(path, FileTrouble.FAILED, str(error)) from error


async def _exchange(execution: Execution, path: str, pieces: AsyncIterable[bytes]) -> tuple[int | None, bytes]:
    """Send frames and listen at once; return how many bytes were sent (None: not all), and what was said."""
    try:
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(_send(execution, pieces), name="file transfer: send")
            _, said = await _collect(execution, path)
            sending.cancel()  # if it has ended early, nobody needs the rest
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None  # a second one would be a consequence
    return None if sending.cancelled() else sending.result(), said


async def _send(execution: Execution, pieces: AsyncIterable[bytes]) -> int:
    """Send frames of a megabyte and the end; return how many bytes there were."""
    sent, frame_bytes = 0, _BLOCK_BYTES * _FRAME_BLOCKS
    held = bytearray()
    async for piece in pieces:
        sent += len(piece)
        held += piece
        while len(held) >= frame_bytes:
            await _send_frame(execution, held[:frame_bytes], _BLOCK_BYTES)
            del held[:frame_bytes]
    whole = len(held) // _BLOCK_BYTES * _BLOCK_BYTES
    await _send_frame(execution, held[:whole], _BLOCK_BYTES)
    await _send_frame(execution, held[whole:], len(held) - whole)
    await execution.write(b"end\n")
    return sent


async def _send_frame(execution: Execution, data: bytearray, block_bytes: int) -> None:
    if data:
        await execution.write(b"%d %d\n" % (block_bytes, len(data) // block_bytes))
    for at in range(0, len(data), _BLOCK_BYTES):
        await execution.write(bytes(data[at : at + _BLOCK_BYTES]))


async def _collect(execution: Execution, path: str) -> tuple[bytes, bytes]:
    """Return all it prints, and the end of what it says."""
    printed, said = bytearray(), b""
    async for channel, data in execution:
        if channel is Channel.STDERR:
            said = (said + data)[-_MAX_SAID_BYTES:]
            continue
        printed += data
        if len(printed) > _MAX_ANSWER_BYTES:
            raise FileError(path, FileTrouble.FAILED, f"there is more to tell than {_MAX_ANSWER_BYTES} bytes")
    return bytes(printed), said


def _check(status: ExitStatus, said: bytes, path: str, target: str = "") -> None:
    """Raise what the end of a script means."""
    if status.lost is not None:
        raise Unreachable(status.message or "the link was lost")
    code = status.code
    if code == 0:
        return
    if target and code is not None and code - scripts.OF_TARGET in {*scripts.TROUBLES, scripts.FAILED}:
        path, code = target, code - scripts.OF_TARGET
    if code in scripts.TROUBLES:
        raise FileError(path, *scripts.TROUBLES[code])
    words = said.decode("utf-8", "replace").strip() or f"the command there ended with {status}"
    trouble = next((trouble for pattern, trouble in _MESSAGES if pattern.search(words)), FileTrouble.FAILED)
    raise FileError(path, trouble, words.splitlines()[-1])


def _argument(path: str) -> str:
    try:
        return scripts.argument(path)
    except ValueError as error:
        raise InvalidProgram("path", str(error)) from error


def _moved(info: FileInfo, path: str) -> FileInfo:
    return FileInfo(path, info.kind, info.size, info.mode, info.modified_at, info.target)
