"""Files on a host, over SFTP."""

from __future__ import annotations

import secrets
import stat
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

import asyncssh

from backends.abilities import FileError, FileInfo, FileKind, FileTrouble
from backends.environment import check_text
from backends.errors import InvalidProgram, NotSupported, Unreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence

    from backends.base import Notice
    from backends.ssh.pool import SshPool

_PIECE_BYTES = 256 * 1024

_TROUBLES: Mapping[type[asyncssh.SFTPError], FileTrouble] = {
    asyncssh.SFTPNoSuchFile: FileTrouble.MISSING,
    asyncssh.SFTPNoSuchPath: FileTrouble.MISSING,
    asyncssh.SFTPPermissionDenied: FileTrouble.DENIED,
    asyncssh.SFTPFileAlreadyExists: FileTrouble.EXISTS,
    asyncssh.SFTPDirNotEmpty: FileTrouble.NOT_EMPTY,
    asyncssh.SFTPNotADirectory: FileTrouble.WRONG_KIND,
    asyncssh.SFTPFileIsADirectory: FileTrouble.WRONG_KIND,
    asyncssh.SFTPNoSpaceOnFilesystem: FileTrouble.FULL,
    asyncssh.SFTPQuotaExceeded: FileTrouble.FULL,
}
_WORDS: Mapping[FileTrouble, str] = {
    FileTrouble.MISSING: "no such file or directory",
    FileTrouble.EXISTS: "exists already",
    FileTrouble.DENIED: "permission denied",
    FileTrouble.WRONG_KIND: "is of another kind",
    FileTrouble.NOT_EMPTY: "directory not empty",
    FileTrouble.FULL: "no space left",
}


class SshFiles:
    """`abilities.Files`: each operation has a channel of its own, so none is held while nothing is done."""

    def __init__(self, pool: SshPool, tell: Callable[[Notice], None]) -> None:
        """Work over the connections of a pool."""
        self._pool = pool
        self._tell = tell

    async def stat(self, path: str) -> FileInfo:
        """Tell what is at a path."""
        async with self._client(path) as client:
            return await _info(client, path, await client.lstat(path))

    async def list(self, path: str) -> Sequence[FileInfo]:
        """Tell what is in a directory."""
        async with self._client(path) as client:
            await _need(client, path, directory=True)
            found = [
                await _info(client, f"{path.rstrip('/')}/{entry.filename!s}", entry.attrs)
                for entry in await client.readdir(path)
                if entry.filename not in (".", "..")
            ]
        return sorted(found, key=lambda info: info.path)

    async def read(self, path: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        """Yield a file's bytes."""
        async with self._client(path) as client:
            await _need(client, path, directory=False)
            async with await client.open(path, "rb") as file:
                while data := cast("bytes", await file.read(_PIECE_BYTES, offset)):
                    offset += len(data)
                    yield data

    async def write(self, path: str, pieces: AsyncIterable[bytes], *, mode: int = 0o644) -> int:
        """Write a new file beside the old one, then put it in its place."""
        async with self._client(path) as client:
            target = path
            with suppress(asyncssh.SFTPNoSuchFile):
                await _need(client, path, directory=False)
                target = str(await client.realpath(path))  # behind a link: the link stays
            directory, slash, _ = target.rpartition("/")
            new = f"{directory}{slash}.{secrets.token_hex(8)}.part"
            try:
                size = await _write_all(client, new, pieces, mode)
                await client.posix_rename(new, target)
            except BaseException:
                with suppress(asyncssh.Error, OSError):
                    await client.remove(new)
                raise
            return size

    async def make_directory(self, path: str, *, parents: bool = False) -> None:
        """Make a directory."""
        async with self._client(path) as client:
            if parents and await client.isdir(path):
                return
            if await client.lexists(path):
                raise _error(path, FileTrouble.EXISTS)
            if parents:
                await client.makedirs(path, exist_ok=True)
            else:
                await client.mkdir(path)

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove what is at a path."""
        async with self._client(path) as client:
            if not _is_directory(await client.lstat(path)):
                await client.remove(path)
            elif recursive:
                await _remove_tree(client, path)
            elif [each for each in await client.listdir(path) if each not in (".", "..")]:
                raise _error(path, FileTrouble.NOT_EMPTY)
            else:
                await client.rmdir(path)

    async def rename(self, path: str, target: str) -> None:
        """Move a file or directory."""
        _check(target)
        async with self._client(path) as client:
            moved = await client.lstat(path)
            if not await client.isdir(target.rstrip("/").rpartition("/")[0] or "."):
                raise _error(target, FileTrouble.MISSING)
            with suppress(asyncssh.SFTPNoSuchFile):
                replaced = await client.lstat(target)
                if _is_directory(replaced) != _is_directory(moved):
                    raise _error(target, FileTrouble.WRONG_KIND)
                if _is_directory(replaced) and path != target:
                    raise _error(target, FileTrouble.EXISTS)
            await client.posix_rename(path, target)

    @asynccontextmanager
    async def _client(self, path: str) -> AsyncIterator[asyncssh.SFTPClient]:
        """Begin an operation; what goes wrong in it is about this path."""
        _check(path)
        try:
            async with self._pool.channel(_start, tell=self._tell, discard=_exit) as client:
                try:
                    yield client
                except asyncssh.SFTPFailure as error:
                    raise await _explain(client, path, error) from None
        except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, OSError) as error:
            raise Unreachable(f"the connection to {self._pool.place} was lost: {error}") from None
        except asyncssh.SFTPError as error:
            trouble = _TROUBLES.get(type(error), FileTrouble.FAILED)
            raise FileError(path, trouble, _WORDS.get(trouble, error.reason)) from None
        except asyncssh.ChannelOpenError:
            raise NotSupported(self._pool.place, "files") from None


async def _start(connection: asyncssh.SSHClientConnection) -> asyncssh.SFTPClient:
    return await connection.start_sftp_client(path_errors="surrogateescape")


def _exit(client: asyncssh.SFTPClient) -> None:
    client.exit()


def _check(path: str) -> None:
    check_text("path", path)
    if not path:
        raise InvalidProgram("path", "is empty")


async def _write_all(client: asyncssh.SFTPClient, path: str, pieces: AsyncIterable[bytes], mode: int) -> int:
    size = 0
    async with await client.open(path, "xb", asyncssh.SFTPAttrs(permissions=0o600)) as file:
        async for piece in pieces:
            if piece:
                size += await file.write(piece, size)
        await file.chmod(mode)
        with suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()
    return size


async def _remove_tree(client: asyncssh.SFTPClient, path: str) -> None:
    """Remove a directory with all in it; asyncssh's own does not take names with a backslash."""
    for entry in await client.readdir(path):
        name = str(entry.filename)
        if name in (".", ".."):
            continue
        if _is_directory(entry.attrs):
            await _remove_tree(client, f"{path}/{name}")
        else:
            await client.remove(f"{path}/{name}")
    await client.rmdir(path)


async def _need(client: asyncssh.SFTPClient, path: str, *, directory: bool) -> None:
    """Raise FileError if what is there (behind a link too) is of the wrong kind: the host only says `Failure`."""
    if _is_directory(await client.stat(path)) != directory:
        raise _error(path, FileTrouble.WRONG_KIND)


async def _explain(client: asyncssh.SFTPClient, path: str, error: asyncssh.SFTPError) -> FileError:
    """Return what `Failure` may mean."""
    with suppress(asyncssh.SFTPError):
        if (await client.statvfs(path.rpartition("/")[0] or ".")).bavail == 0:
            return _error(path, FileTrouble.FULL)
    return FileError(path, FileTrouble.FAILED, error.reason)


def _error(path: str, trouble: FileTrouble) -> FileError:
    return FileError(path, trouble, _WORDS[trouble])


def _is_directory(attributes: asyncssh.SFTPAttrs) -> bool:
    return stat.S_ISDIR(attributes.permissions or 0)


async def _info(client: asyncssh.SFTPClient, path: str, attributes: asyncssh.SFTPAttrs) -> FileInfo:
    mode = attributes.permissions or 0
    kind, target = FileKind.OTHER, ""
    if stat.S_ISREG(mode):
        kind = FileKind.FILE
    elif stat.S_ISDIR(mode):
        kind = FileKind.DIRECTORY
    elif stat.S_ISLNK(mode):
        kind = FileKind.LINK
        target = str(await client.readlink(path))
    return FileInfo(path, kind, attributes.size or 0, stat.S_IMODE(mode), float(attributes.mtime or 0), target)
