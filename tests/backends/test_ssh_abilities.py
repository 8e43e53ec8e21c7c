"""Commands, files and ports on a host reached by SSH."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from backends.abilities import Channel, Command, FileError, FileKind, FileTrouble
from backends.base import ExitStatus
from backends.errors import DirectoryNotFound, InvalidProgram, NotSupported, Unreachable, UserRefused
from support.sshd import Sshd, SshPlace, reached, running_sshd
from support.terminals import is_alive
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from backends.abilities import Execution


@pytest.fixture
async def place(sshd: Sshd, tmp_path: Path) -> AsyncIterator[SshPlace]:
    async with reached(sshd, tmp_path) as place:
        yield place


async def collect(execution: Execution) -> dict[Channel, bytes]:
    said = {Channel.STDOUT: b"", Channel.STDERR: b""}
    async for channel, data in execution:
        said[channel] += data
    return said


async def test_a_command_s_output_and_errors_come_apart(place: SshPlace) -> None:
    execution = await place.execute("sh", "-c", 'printf "out %s\\n" "$1"; echo err >&2; exit 7', "sh", "a b'c\\\\d")
    assert await collect(execution) == {Channel.STDOUT: b"out a b'c\\\\d\n", Channel.STDERR: b"err\n"}
    assert await execution.wait() == ExitStatus(code=7)


async def test_a_command_reads_its_input_to_the_end(place: SshPlace) -> None:
    execution = await place.execute("sha1sum")
    data = os.urandom(3 << 20)
    for start in range(0, len(data), 1 << 20):
        await execution.write(data[start : start + (1 << 20)])
    await execution.close_input()
    assert (await collect(execution))[Channel.STDOUT].split()[0].decode() == hashlib.sha1(data).hexdigest()
    assert (await execution.wait()).code == 0


async def test_a_command_that_is_not_read_is_held_up(place: SshPlace) -> None:
    execution = await place.execute("sh", "-c", "head -c 8000000 /dev/zero; echo over >&2")
    async for _channel, _data in execution:
        break
    await asyncio.sleep(0.3)
    assert execution.waiting_bytes <= 2 << 20
    size = 0
    async for channel, data in execution:
        size += len(data) if channel is Channel.STDOUT else 0
    assert size > 7_000_000
    assert (await execution.wait()).code == 0


async def test_variables_and_directory_reach_a_command(place: SshPlace) -> None:
    execution = await place.environment.execute(
        Command(["sh", "-c", 'echo "$SECRET $PWD"'], cwd="/usr", env={"SECRET": "it is one"})
    )
    assert (await collect(execution))[Channel.STDOUT] == b"it is one /usr\n"
    with pytest.raises(DirectoryNotFound):
        await place.environment.execute(Command(["true"], cwd="/nowhere"))
    with pytest.raises(UserRefused):
        await place.environment.execute(Command(["true"], user="somebody"))


async def test_a_command_that_is_not_there_ends_with_127_and_says_so(place: SshPlace) -> None:
    execution = await place.execute("no-such-command")
    assert (await collect(execution))[Channel.STDERR] == b"no-such-command: command not found\n"
    assert (await execution.wait()).code == 127


async def test_a_closed_command_is_ended_with_all_it_started(place: SshPlace) -> None:
    execution = await place.execute("sh", "-c", "setsid sleep 1000 & echo $!; trap '' HUP TERM; sleep 1000; sleep 1000")
    async for _channel, data in execution:
        pid = int(data)
        break
    assert is_alive(pid)
    leader = execution.leader
    assert leader is not None
    await execution.close()
    assert not is_alive(pid)
    assert not is_alive(leader)
    await execution.close()


async def test_files_are_written_read_and_described(place: SshPlace, tmp_path: Path) -> None:
    files = place.environment.files()
    directory = tmp_path / "files"
    directory.mkdir()
    file, link = directory / "a file ä", directory / "link"
    data = os.urandom(700_000)

    async def pieces() -> AsyncIterator[bytes]:
        yield data[:100_000]
        yield data[100_000:]

    assert await files.write(str(file), pieces(), mode=0o640) == len(data)
    assert file.read_bytes() == data
    info = await files.stat(str(file))
    assert (info.kind, info.size, info.mode) == (FileKind.FILE, len(data), 0o640)
    read = [piece async for piece in files.read(str(file))]
    assert b"".join(read) == data
    assert max(map(len, read)) <= 256 * 1024
    assert b"".join([piece async for piece in files.read(str(file), offset=650_000)]) == data[650_000:]
    link.symlink_to(file)
    listed = await files.list(str(directory))
    assert [(each.path, each.kind, each.target) for each in listed] == [
        (str(file), FileKind.FILE, ""),
        (str(link), FileKind.LINK, str(file)),
    ]


async def test_an_unfinished_write_changes_nothing(place: SshPlace, tmp_path: Path) -> None:
    files = place.environment.files()
    directory = tmp_path / "files"
    directory.mkdir()
    path = directory / "file"
    path.write_text("before")

    async def breaks() -> AsyncIterator[bytes]:
        yield b"after"
        raise RuntimeError("the sender is gone")

    with pytest.raises(RuntimeError):
        await files.write(str(path), breaks())
    assert path.read_text() == "before"
    assert [info.path for info in await files.list(str(directory))] == [str(path)]


async def test_directories_are_made_moved_and_removed(place: SshPlace, tmp_path: Path) -> None:
    files = place.environment.files()
    top = str(tmp_path / "top")
    await files.make_directory(f"{top}/a/b", parents=True)
    await files.make_directory(f"{top}/a/b", parents=True)
    (tmp_path / "top/a/file").write_text("x")
    await files.rename(f"{top}/a/file", f"{top}/file")
    for trouble, attempt in {
        FileTrouble.EXISTS: files.make_directory(top),
        FileTrouble.NOT_EMPTY: files.remove(top),
        FileTrouble.MISSING: files.stat(f"{top}/nothing"),
        FileTrouble.WRONG_KIND: files.rename(f"{top}/file", f"{top}/a"),
    }.items():
        with pytest.raises(FileError) as caught:
            await attempt
        assert caught.value.trouble is trouble
    for path in (f"{top}/file", top):
        with pytest.raises(FileError) as caught:
            _ = [each async for each in files.read(path)] if path == top else await files.list(path)
        assert caught.value.trouble is FileTrouble.WRONG_KIND
    await files.remove(top, recursive=True)
    assert not (tmp_path / "top").exists()
    with pytest.raises(InvalidProgram):
        await files.stat("a\0b")


async def test_a_port_of_the_host_is_reached(place: SshPlace) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await place.environment.connect(port, "127.0.0.1")
        await connection.write(b"hello")
        await connection.write_eof()
        said = b""
        while data := await connection.read():
            said += data
        assert said == b"HELLO"
        await connection.close()
        await connection.close()
    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}"):
        await place.environment.connect(port, "127.0.0.1")
    with pytest.raises(InvalidProgram):
        await place.environment.connect(80, "-oProxyCommand=x")


async def test_a_host_without_sftp_says_so(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd", sftp=False) as server, reached(server, tmp_path) as place:
        with pytest.raises(NotSupported, match="files"):
            await place.environment.files().stat("/")


async def test_nothing_runs_there_once_the_environment_is_closed(place: SshPlace) -> None:
    execution = await place.execute("sleep", "1000")
    terminal = await place.terminals.sh("sleep 1000")
    pids = [execution.leader, terminal.pty.pid]
    await place.environment.close()
    await wait_until(lambda: not any(is_alive(pid) for pid in pids if pid), description="both are gone")
