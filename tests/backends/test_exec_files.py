"""Files by commands, beyond what all files promise: rights, full disks, cut links, trees, other tools."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.abilities import FileError, FileKind, FileTrouble
from backends.errors import Unreachable
from backends.files.by_commands import ExecFiles
from backends.files.extract import extract
from backends.files.records import read_records
from backends.files.tar import BrokenTar
from support.disk import small_disk
from support.local_executor import LocalExecutor
from support.other_users import BOB, need_root, open_directory
from support.places import Place, local_place, tools
from support.tars import archive, file, trickle
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

pytestmark = pytest.mark.platform("linux")


@pytest.fixture(params=["coreutils", "busybox"])
def kind(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


@pytest.fixture
async def place(kind: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with local_place(kind, tmp_path) as place:
        yield place


async def trouble(call: Awaitable[object]) -> FileTrouble:
    with pytest.raises(FileError) as caught:
        await call
    return caught.value.trouble


async def test_the_tools_are_those_that_are_meant(kind: str, place: Place) -> None:
    found = (await place.sh("readlink -f /proc/$$/exe; stat --help 2>&1 || :")).decode()
    assert ("busybox" in found.lower()) == (kind == "busybox")


@pytest.fixture
def public() -> Iterator[Path]:
    """Give a directory that another user can get to."""
    need_root()
    with open_directory() as directory:
        yield directory


async def test_what_is_not_allowed_is_said(kind: str, public: Path) -> None:
    closed = public / "closed"
    (closed / "below").mkdir(parents=True)
    (closed / "file").write_text("x")
    secret = public / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    hidden = public / "hidden"
    (hidden / "below").mkdir(parents=True)
    hidden.chmod(0o700)
    executor = LocalExecutor(
        tools(kind, public / "these") | {"HOME": "/"},
        prefix=(shutil.which("setpriv") or "setpriv", "--reuid", BOB, "--clear-groups"),
    )
    files = ExecFiles(executor)
    try:
        assert await trouble(anext(files.read(str(secret)))) is FileTrouble.DENIED
        for path in (hidden / "below", hidden / "gone"):
            assert await trouble(files.stat(str(path))) is FileTrouble.DENIED
            assert await trouble(files.list(str(path))) is FileTrouble.DENIED
            assert await trouble(files.write(str(path / "x"), trickle(b"x"))) is FileTrouble.DENIED
        assert await trouble(files.list(str(hidden))) is FileTrouble.DENIED
        assert await trouble(files.write(str(closed / "new"), trickle(b"x"))) is FileTrouble.DENIED
        assert await trouble(files.make_directory(str(closed / "new"))) is FileTrouble.DENIED
        assert await trouble(files.make_directory(str(closed / "a/b/c"), parents=True)) is FileTrouble.DENIED
        assert await trouble(files.remove(str(closed / "file"))) is FileTrouble.DENIED
        assert await trouble(files.remove(str(closed / "below"))) is FileTrouble.DENIED
        assert await trouble(files.remove(str(closed), recursive=True)) is FileTrouble.DENIED
        assert await trouble(files.rename(str(closed / "file"), str(closed / "new"))) is FileTrouble.DENIED
        assert await trouble(anext(files.pack(str(hidden)))) is FileTrouble.DENIED
        assert (await files.stat(str(secret))).size == 1
    finally:
        await executor.close()


async def test_a_full_disk_is_said_and_leaves_nothing(place: Place) -> None:
    disk = Path(place / "disk")
    with small_disk(disk, size_bytes=128 * 1024):
        kept = str(disk / "kept")
        await place.files.write(kept, trickle(b"kept"))
        assert await trouble(place.files.write(kept, trickle(bytes(2_000_000)))) is FileTrouble.FULL
        assert [info.path for info in await place.files.list(str(disk))] == [kept]
        assert b"".join([piece async for piece in place.files.read(kept)]) == b"kept"


async def test_a_source_is_not_read_on_when_the_command_has_ended(place: Place) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(100_000)
            await asyncio.sleep(0)

    assert await trouble(place.files.write(place / "no/file", endless())) is FileTrouble.MISSING
    assert taken < 1000


async def test_a_cut_link_leaves_neither_a_part_nor_a_wrong_file(place: Place) -> None:
    """The command reads the end of its input, as where a real link is cut, and must not take it for the file's."""
    executor = place.executor
    assert isinstance(executor, LocalExecutor)
    await place.files.write(place / "file", trickle(b"old"))

    async def has_part() -> bool:
        return any(name.endswith(".part") for name in await place.names())

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(500_000)
        writing = executor.executions[-1]
        await wait_until(has_part, description="a part is there")
        writing.cut()
        yield bytes(500_000)

    with pytest.raises(Unreachable):
        await place.files.write(place / "file", pieces())

    async def tidy() -> bool:
        return await place.names() == ["file"]

    await wait_until(tidy, description="the part is removed")
    assert b"".join([piece async for piece in place.files.read(place / "file")]) == b"old"


async def test_a_cut_link_is_no_end_of_a_file(place: Place) -> None:
    executor = place.executor
    assert isinstance(executor, LocalExecutor)
    await place.sh("head -c 30000000 /dev/zero >big")

    async def cut_while_reading() -> None:
        async for _ in place.files.read(place / "big"):
            executor.executions[-1].cut()

    with pytest.raises(Unreachable):
        await cut_while_reading()


async def test_where_dd_cannot_fill_its_blocks_it_takes_longer(tmp_path: Path) -> None:
    async with local_place("busybox", tmp_path) as place:
        dd = Path(tmp_path) / "tools" / "dd"
        real = dd.readlink()
        dd.unlink()
        dd.write_text(f'#!/bin/sh\ncase "$*" in *iflag*) exit 1 ;; esac\nexec {real} dd "$@"\n')
        dd.chmod(0o755)
        data = bytes(range(256)) * 100
        await place.files.write(place / "file", trickle(data))
        assert b"".join([piece async for piece in place.files.read(place / "file")]) == data


async def test_trees_come_and_go_as_archives(place: Place, tmp_path: Path) -> None:
    files = place.files
    assert isinstance(files, ExecFiles)
    await files.make_directory(place / "tree/-below", parents=True)
    await files.write(place / "tree/-below/new\nline", trickle(b"deep"))
    await place.sh("ln -s ./-below tree/link; head -c 3000000 /dev/urandom >tree/big")
    (tmp_path / "here").mkdir()
    await extract(files.pack(place / "tree"), tmp_path / "here")
    await files.make_directory(place / "again")
    await files.unpack(place / "again", files.pack(place / "tree"))
    await place.sh("diff -r tree again")
    await place.sh('diff -r tree "$1"', str(tmp_path / "here"))
    assert (await files.stat(place / "again/link")).kind is FileKind.LINK


async def test_an_archive_without_an_end_is_an_error(place: Place, tmp_path: Path) -> None:
    files = place.files
    assert isinstance(files, ExecFiles)
    with pytest.raises(FileError):
        await files.unpack(place.directory, trickle(archive(file("a", b"x" * 5000))[:3000]))
    with pytest.raises(FileError):
        await files.unpack(place.directory, trickle(b"no archive at all" * 1000))
    assert await trouble(files.unpack(place / "gone", trickle(archive()))) is FileTrouble.MISSING
    assert await trouble(anext(files.pack(place / "gone"))) is FileTrouble.MISSING
    (tmp_path / "here").mkdir()
    with pytest.raises(BrokenTar):
        await extract(trickle(b""), tmp_path / "here")


async def test_without_a_shell_there_are_no_files(tmp_path: Path) -> None:
    executor = LocalExecutor({"PATH": str(tmp_path)})
    try:
        with pytest.raises(FileError, match="sh"):
            await ExecFiles(executor).stat("/")
    finally:
        await executor.close()


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

LS = {
    b"ls -rw-r--r-- 5 Mar 1 12:30 ./a//\n": (FileKind.FILE, 5, 0o644, datetime(2026, 3, 1, 12, 30, tzinfo=UTC)),
    b"ls -rwsr-Sr-t+ 5 Dec 31 23:59 ./a//\n": (FileKind.FILE, 5, 0o7745, datetime(2025, 12, 31, 23, 59, tzinfo=UTC)),
    b"ls drwxrwxrwT. 0 Jan 2 2001 ./a//\n": (FileKind.DIRECTORY, 0, 0o1776, datetime(2001, 1, 2, tzinfo=UTC)),
    b"ls crw------- 0 Feb 28 00:00 ./a//\n": (FileKind.OTHER, 0, 0o600, datetime(2026, 2, 28, tzinfo=UTC)),
}


@pytest.mark.parametrize("line", LS)
def test_what_ls_prints_is_read(line: bytes) -> None:
    [info] = read_records(line, NOW)
    assert (info.kind, info.size, info.mode, datetime.fromtimestamp(info.modified_at, UTC)) == LS[line]


@pytest.mark.parametrize("data", [b"stat: not found\n", b"81a4 x 5 ./a//\n", b"81a4 1 5 ./a"])
def test_what_no_script_prints_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not what the script prints"):
        read_records(data, NOW)
