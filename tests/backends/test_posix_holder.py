"""The holder: who may speak to it, what it keeps, when it ends."""

# ruff: noqa: ASYNC240 - small files of this machine

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from backends.holder import EXIT_HELD, SOCKET, daemon
from backends.holder.__main__ import LOCK, LOG
from backends.holder.connection import Connection
from backends.holder.frames import encode
from backends.holder_link import HolderError, HolderGone, HolderLink
from support.holders import stop_holder
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.platform("linux")

NOBODY = 65534
PROGRAM: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, "size": [24, 80]}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a directory whose path is too long for the address of a socket, and end its holder."""
    directory = tmp_path / ("long" * 30) / "holder"
    yield directory
    stop_holder(directory)


@pytest.fixture
async def link(place: Path) -> AsyncIterator[HolderLink]:
    link = await HolderLink.connect(place)
    yield link
    link.close()


async def take(link: HolderLink, key: int) -> int:
    """Take a program that runs; return our descriptor of its terminal."""
    master, *others = (await link.call("take", key=key)).descriptors
    for other in others:
        os.close(other)
    return master


async def spawn(link: HolderLink, *words: str, note: bytes = b"", **fields: Any) -> tuple[int, int, int]:
    """Start a program; return its key, its pid and our descriptor of its terminal."""
    file, *arguments = words
    reply = await link.call("spawn", payload=note, file=file, arguments=arguments, **{**PROGRAM, **fields})
    (master,) = reply.descriptors[:1]
    for other in reply.descriptors[1:]:
        os.close(other)
    return reply.fields["key"], reply.fields["pid"], master


async def holder_process(link: HolderLink) -> psutil.Process:
    return psutil.Process((await link.call("hello")).fields["pid"])


async def programs(link: HolderLink) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await link.call("list")).fields["programs"]
    return listed


async def ended(process: psutil.Process) -> None:
    """Wait until a process is gone; one that nobody reaps is."""

    def is_gone() -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    await wait_until(is_gone, description="the holder has ended")


async def test_its_files_are_private(link: HolderLink, place: Path) -> None:
    assert link.owns.is_set()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place, *place.iterdir())}
    assert modes == {"holder": 0o700, SOCKET: 0o600, LOCK: 0o600, LOG: 0o600}


async def test_it_is_small_alone_and_sees_nothing_of_ours(link: HolderLink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    process = await holder_process(link)
    for _ in range(20):
        _, _, master = await spawn(link, "/bin/sleep", "600")
        os.close(master)
    assert process.memory_info().rss <= 15_000_000
    assert process.num_threads() == 1
    assert not {"SECRET", "PATH"} & process.environ().keys()
    assert (process.cwd(), process.terminal()) == ("/", None)
    assert os.getsid(process.pid) != os.getsid(0)


async def test_programs_get_what_was_asked_for_and_nothing_of_the_holder(link: HolderLink) -> None:
    mask = os.umask(0)
    os.umask(mask)
    script = "umask; pwd; env; [ -e /proc/$$/fd/3 ] || echo three; stty size; grep SigIgn /proc/$$/status"
    key, _, master = await spawn(link, "/bin/sh", "-c", script, cwd="/usr", env={"A": "b"}, size=[11, 22])
    await wait_until(lambda: key in link._exits, description="its end")
    said = os.read(master, 4096).decode().split()
    os.close(master)
    assert said[0] == f"{mask:04o}"
    assert [word for word in said[1:] if "=" in word and not word.startswith(("PWD", "_", "OLDPWD", "SHLVL"))] == [
        "A=b"
    ]
    assert {"/usr", "three", "11", "22"} <= set(said)
    assert int(said[-1], 16) & 0x7FFFFFFF == 0


async def test_another_user_gets_nothing(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to be another user")
    mine = await HolderLink.connect(place)
    code = (
        f"import os, socket; os.setuid({NOBODY}); socket.socket(socket.AF_UNIX).connect('/proc/self/fd/{{}}/{SOCKET}')"
    )
    directory = os.open(place, os.O_RDONLY)
    # The descriptor leads past the directories' modes: the socket's own must do, and the question for the peer.
    for mode, expected in ((0o600, b"PermissionError"), (0o666, b"")):
        place.joinpath(SOCKET).chmod(mode)
        place.chmod(0o711)
        text = (
            code.format(directory) + ""
            if mode == 0o600
            else f"""
import os, socket
os.setuid({NOBODY})
channel = socket.socket(socket.AF_UNIX)
channel.connect('/proc/self/fd/{directory}/{SOCKET}')
channel.settimeout(30)
assert channel.recv(100) == b'', 'it spoke to us'
"""
        )
        run = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", text], pass_fds=[directory], capture_output=True, check=False
        )
        assert expected in run.stderr
        assert (run.returncode == 0) == (not expected), run.stderr
    os.close(directory)
    mine.close()


async def test_there_is_one_holder_and_one_owner(link: HolderLink, place: Path) -> None:
    second = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "backends.holder", str(place)], cwd=Path.cwd(), check=False, timeout=30
    )
    assert second.returncode == EXIT_HELD
    key, _, master = await spawn(link, "/bin/sleep", "600")
    os.close(master)
    channel = await asyncio.to_thread(reach, place)
    other = HolderLink(asyncio.get_running_loop(), channel)
    assert [one["key"] for one in await programs(other)] == [key]
    for operation in ("spawn", "take", "annotate", "release", "discard", "adopt", "signal", "stop"):
        with pytest.raises(HolderError) as caught:
            await other.call(operation, key=key)
        assert caught.value.error["kind"] == "not_owner"
    assert not other.owns.is_set()
    link.close()
    async with asyncio.timeout(30):
        await other.owns.wait()
    os.close(await take(other, key))
    other.close()


def reach(place: Path) -> socket.socket:
    """Connect as anybody of this user can."""
    here = os.open(place, os.O_RDONLY)
    try:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.connect(f"/proc/self/fd/{here}/{SOCKET}")
        channel.setblocking(False)  # noqa: FBT003 - positional only
        return channel
    finally:
        os.close(here)


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such operation": ({"op": "fly"}, "unknown_op"),
    "no operation": ({}, "unknown_op"),
    "no such program": ({"op": "take", "key": 99}, "unknown_key"),
    "no program": ({"op": "take"}, "unknown_key"),
    "nothing to start": ({"op": "spawn"}, "bad_request"),
    "a size of words": (
        {"op": "spawn", **PROGRAM, "file": "/bin/true", "arguments": [], "size": ["a", "b"]},
        "bad_request",
    ),
    "no list of pids": ({"op": "signal", "pids": 7, "signum": 1}, "bad_request"),
    "no terminal to keep": ({"op": "adopt", "pid": 1}, "bad_request"),
    "nothing to execute": ({"op": "spawn", **PROGRAM, "file": "/no/such", "arguments": []}, "exec"),
    "no directory": ({"op": "spawn", **PROGRAM, "file": "/bin/true", "arguments": [], "cwd": "/no/such"}, "prepare"),
    "no user": ({"op": "spawn", **PROGRAM, "file": "/bin/true", "arguments": [], "user": "no such user"}, "user"),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_cannot_be_done_is_refused_and_harms_nothing(link: HolderLink, name: str) -> None:
    request, kind = BAD[name]
    before = (await holder_process(link)).num_fds()
    fields = {key: value for key, value in request.items() if key != "op"}
    for _ in range(3):
        with pytest.raises(HolderError) as caught:
            await link.call(request.get("op", ""), **fields)
        assert caught.value.error["kind"] == kind
    assert (await holder_process(link)).num_fds() == before
    assert await programs(link) == []


@pytest.mark.parametrize(
    "rubbish", [b"GET / HTTP/1.1\r\n\r\n", bytes(8) + b"x" * 100, b"\0\0\0\2\0\0\0\0[]", b"\xff" * 64]
)
async def test_who_speaks_something_else_is_sent_away(link: HolderLink, place: Path, rubbish: bytes) -> None:
    key, _, master = await spawn(link, "/bin/sleep", "600")
    os.close(master)
    channel = await asyncio.to_thread(reach, place)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(channel, rubbish)
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionResetError):
            while await loop.sock_recv(channel, 4096):
                pass
    channel.close()
    assert [one["key"] for one in await programs(link)] == [key]


async def test_ends_are_told_and_kept_until_they_were_heard(link: HolderLink, place: Path) -> None:
    script = "read line; exit 7"
    key, pid, master = await spawn(link, "/bin/sh", "-c", script, note=b"first")
    await link.call("annotate", key=key, payload=b"second")
    link.close()
    os.write(master, b"\n")
    next_link = await HolderLink.connect(place)

    while (await programs(next_link))[0]["exit"] is None:  # noqa: ASYNC110 - asked of another process
        await asyncio.sleep(0.01)
    listed = await next_link.call("list")
    assert listed.fields["programs"] == [{"key": key, "pid": pid, "child": True, "exit": {"code": 7}, "note": 6}]
    assert listed.payload == b"second"
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, "its number must stay its own"
    await next_link.call("release", key=key)
    assert not psutil.pid_exists(pid)
    assert await programs(next_link) == []
    os.close(master)
    next_link.close()


async def test_what_a_program_printed_meanwhile_is_still_there(link: HolderLink, place: Path) -> None:
    key, _, master = await spawn(link, "/bin/sh", "-c", "read line; echo heard $line; sleep 600")
    os.close(master)
    again = await take(link, key)
    os.write(again, b"you\n")
    await wait_until(lambda: waiting_bytes(again) > len("you\r\n"), description="the answer")
    os.close(again)
    link.close()
    next_link = await HolderLink.connect(place)
    later = await take(next_link, key)
    assert os.read(later, 4096) == b"you\r\nheard you\r\n"
    os.close(later)
    next_link.close()


def waiting_bytes(master: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(master, termios.FIONREAD, count)
    return count[0]


async def test_it_stays_as_long_as_it_holds_something_and_ends_when_idle(link: HolderLink, place: Path) -> None:
    process = await holder_process(link)
    key, _, master = await spawn(link, "/bin/sleep", "600")
    os.close(master)
    link.close()
    for harmless in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
        process.send_signal(harmless)
    await asyncio.sleep(7)  # longer than it stays when idle
    next_link = await HolderLink.connect(place)
    assert (await holder_process(next_link)).pid == process.pid
    await next_link.call("discard", key=key)
    next_link.close()
    await ended(process)
    assert SOCKET not in {path.name for path in place.iterdir()}
    third = await HolderLink.connect(place)
    assert (await holder_process(third)).pid != process.pid
    third.close()


@pytest.mark.parametrize("how", ["stop", "SIGTERM", "SIGKILL"])
async def test_its_end_hangs_up_and_is_told(link: HolderLink, place: Path, how: str) -> None:
    process = await holder_process(link)
    _, pid, master = await spawn(link, "/bin/sleep", "600")
    os.close(master)
    if how == "stop":
        await link.call("stop")
    else:
        process.send_signal(signal.Signals[how])
    async with asyncio.timeout(30):
        await link.lost
    await wait_until(lambda: not psutil.pid_exists(pid) or is_zombie(pid), description="the program was hung up")
    with pytest.raises(HolderGone):
        await link.call("list")
    await ended(process)
    fresh = await HolderLink.connect(place)
    assert await programs(fresh) == []
    fresh.close()


def is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_an_owner_that_does_not_read_is_let_go(place: Path) -> None:
    link = await HolderLink.connect(place)
    asyncio.get_running_loop().remove_reader(link._channel.fileno())
    note = bytes(1 << 20)
    for _ in range(8):
        link.send("spawn", payload=note, file="/bin/true", arguments=[], **PROGRAM)
    for _ in range(4):
        link.send("list")
    patient = await asyncio.to_thread(reach, place)
    other = HolderLink(asyncio.get_running_loop(), patient)
    async with asyncio.timeout(daemon.PATIENCE_SECONDS + 30):
        await other.owns.wait()
    assert len(await programs(other)) == 8
    other.close()
    link.close()


async def test_a_program_runs_as_another_user(place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, as a holder that changes users does")
    link = await HolderLink.connect(place)
    key, _, master = await spawn(link, "/bin/sh", "-c", "id -u; id -g; id -G; ls -n $(tty)", user="nobody")
    await wait_until(lambda: key in link._exits, description="its end")
    said = os.read(master, 4096).decode().split()
    os.close(master)
    assert said[:2] == [str(NOBODY), str(NOBODY)]
    assert "0" not in said[2 : said.index("1", 3) if "1" in said[3:] else 3], "a group of root's was kept"
    link.close()


def test_frames_survive_any_cut() -> None:
    ours, theirs = socket.socketpair()
    frames = [({"op": "hello", "id": 1}, b""), ({"op": "spawn", "id": 2, "env": {"A": "\udcff"}}, bytes(range(256)))]
    data = b"".join(encode(dict(header), payload) for header, payload in frames)
    connection, found = Connection(theirs), []
    for start in range(len(data)):
        ours.send(data[start : start + 1])
        found += connection.receive()
    assert found == frames
    ours.close()
    with pytest.raises(EOFError):
        connection.receive()
    connection.close()
