"""A holder that root runs for a service of another user: what that can have done, and what it never can."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from backends.errors import UserRefused
from backends.forkers import OwnForker
from backends.holder import SOCKET
from backends.holder.users import NotAllowed, RunAs
from backends.holder_link import HolderError, HolderLink
from backends.posix import PosixBackend
from support.other_users import (
    ANN,
    BOB,
    FORBIDDEN,
    ROOT,
    SERVICE,
    need_root,
    prefix_of,
    private_directory,
    private_file,
    uid_of,
)
from support.terminals import is_alive, opened, plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")

PROGRAM: dict[str, Any] = {"cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, "size": [24, 80]}
MARK = "TERMINAL_PROCESS_TREE=0123456789abcdef"
ESCAPED = "setsid sh -c 'echo $$ > {file}; exec sleep 600' < /dev/null > /dev/null 2>&1 &"
"""A process that leaves its session, and whose parent ends at once."""


@pytest.fixture
async def link(holder: asyncio.subprocess.Process, place: Path) -> AsyncIterator[HolderLink]:
    assert holder.returncode is None
    link = await HolderLink.connect(place / "holder", start=False)
    yield link
    link.close()


@pytest.fixture
async def foreign() -> AsyncIterator[int]:
    """Run a process that is none of the holder's; give its pid."""
    process = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    yield process.pid
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def started(pid: int) -> int:
    """Return the start of a process in clock ticks, the 22nd field of proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 - as short as it is
        return int(stat.read().rpartition(b")")[2].split()[19])


async def spawn(link: HolderLink, *words: str, user: str | None = ANN, **fields: Any) -> tuple[int, int, int]:
    """Start a program; return its key, its pid and our descriptor of its terminal."""
    file, *arguments = words
    reply = await link.call("spawn", file=file, arguments=arguments, user=user, **{**PROGRAM, **fields})
    master, *others = reply.descriptors
    for other in others:
        os.close(other)
    return reply.fields["key"], reply.fields["pid"], master


async def refusal(link: HolderLink, operation: str, **fields: Any) -> dict[str, Any]:
    with pytest.raises(HolderError) as caught:
        await link.call(operation, **fields)
    return caught.value.error


async def said(master: int, wanted: bytes) -> bytes:
    """Read a terminal until `wanted` is there; return all."""
    found = bytearray()

    def read() -> bool:
        try:
            found.extend(os.read(master, 65536))
        except BlockingIOError:
            return False
        return wanted in found

    await wait_until(read, description=f"{wanted!r}")
    return bytes(found)


# -- who


@pytest.mark.parametrize("user", [FORBIDDEN, "root", None, "no such user", "0", ""])
async def test_nobody_but_the_named_users_is_run_as(link: HolderLink, user: str | None) -> None:
    error = await refusal(link, "spawn", file="/bin/true", arguments=[], user=user, **PROGRAM)
    assert error["kind"] == "user"
    assert (await link.call("list")).fields["programs"] == []


async def test_a_program_is_its_user_and_nobody_else(link: HolderLink) -> None:
    script = "id -un; id -G; ls -n $(tty) | cut -d' ' -f3; grep -cE '^Cap(Inh|Prm|Eff|Amb):.0+$' /proc/self/status"
    _, _, master = await spawn(link, "sh", "-c", script + "; kill -0 $PPID; echo over")
    words = (await said(master, b"over")).decode().split("\r\n")
    os.close(master)
    assert words[:3] == [ANN, str(uid_of(ANN)), str(uid_of(ANN))]
    assert int(words[3]) == len(["CapInh", "CapPrm", "CapEff", "CapAmb"]), "capabilities are left"
    assert "not permitted" in words[4]


def test_groups_name_their_members_but_never_root() -> None:
    need_root()
    members = RunAs(f" @{ANN}, {BOB} ,@root,@no-such-group")
    members.check(ANN)
    members.check(BOB)
    for user in ("root", FORBIDDEN, "no such user", None):
        with pytest.raises(NotAllowed):
            members.check(user)
    RunAs("root").check(None)
    for wrong in ("", " , ", "@"):
        with pytest.raises(ValueError, match=f"^{wrong}$"):
            RunAs(wrong)


async def test_without_a_holder_there_are_no_other_users() -> None:
    async with opened(PosixBackend(plain_environment(), OwnForker())) as own:
        with pytest.raises(UserRefused, match="holder"):
            await own.run("true", user=BOB)


# -- what may be signalled


async def test_only_processes_of_its_programs_are_signalled(link: HolderLink, foreign: int) -> None:
    _, pid, master = await spawn(link, "sleep", "600")
    os.close(master)
    for other in (foreign, 1, os.getpid()):
        reply = await link.call("signal", processes=[(other, started(other))], signals=[signal.SIGKILL])
        assert reply.fields["refused"] == [other]
    stale = await link.call("signal", processes=[(pid, started(pid) - 1)], signals=[signal.SIGKILL])
    assert stale.fields["refused"] == []
    assert is_alive(pid)
    assert is_alive(foreign)
    reply = await link.call("signal", processes=[(pid, started(pid))], signals=[signal.SIGKILL])
    assert reply.fields["refused"] == []
    await wait_until(lambda: not is_alive(pid), description="the end of our own")


async def test_what_left_its_session_is_known_by_its_mark(link: HolderLink, place: Path) -> None:
    private_directory(place / "ann", ANN)
    file = place / "ann" / "pid"
    script = ESCAPED.format(file=file) + f" until [ -s {file} ]; do sleep 0.01; done"
    env = {**PROGRAM["env"], **dict([MARK.split("=")])}
    key, pid, master = await spawn(link, "sh", "-c", script, env=env, mark=MARK)
    await wait_until(lambda: key in link._exits, description="the end of its parent")
    escaped = int(file.read_text())
    seen = (await link.call("processes")).fields["processes"]
    assert [one[0] for one in seen] == [escaped]
    assert os.getsid(escaped) not in (pid, 0)
    await link.call("signal", processes=[(escaped, started(escaped))], signals=[signal.SIGKILL])
    await wait_until(lambda: not is_alive(escaped), description="its end")
    await link.call("release", key=key)
    assert (await link.call("processes")).fields["processes"] == []
    os.close(master)


async def test_a_program_that_was_released_is_no_longer_signalled(link: HolderLink) -> None:
    key, pid, master = await spawn(link, "sh", "-c", "trap '' HUP; echo deaf; exec sleep 600")
    await said(master, b"deaf")
    os.close(master)
    await link.call("release", key=key)
    reply = await link.call("signal", processes=[(pid, started(pid))], signals=[signal.SIGTERM])
    assert reply.fields["refused"] == [pid]
    psutil.Process(pid).kill()


async def test_another_process_cannot_be_passed_off_as_a_program(link: HolderLink, foreign: int) -> None:
    """Or whoever owns the holder could have anything signalled."""
    master, slave = pty.openpty()
    pipe = os.pipe()
    _, pid, terminal = await spawn(link, "sleep", "600")
    for descriptor, claimed in ((master, foreign), (pipe[0], foreign), (terminal, foreign), (slave, pid)):
        error = await refusal(link, "adopt", descriptors=[descriptor], pid=claimed)
        assert error["kind"] == "not_yours"
    reply = await link.call("adopt", descriptors=[terminal], pid=pid)
    await link.call("release", key=reply.fields["key"])
    for descriptor in (master, slave, terminal, *pipe):
        os.close(descriptor)


@pytest.mark.parametrize("signals", [[0], [99], ["TERM"], [9, -1]])
async def test_only_signals_are_sent(link: HolderLink, signals: list[Any]) -> None:
    assert (await refusal(link, "signal", processes=[], signals=signals))["kind"] == "bad_request"


# -- what may be learnt


async def test_files_of_others_cannot_be_found_out_about(link: HolderLink, place: Path) -> None:
    private_directory(place / "bob", BOB)
    private_file(place / "bob" / "tool", BOB, "#!/bin/sh\n", 0o755)
    for name in ("tool", "nothing"):
        error = await refusal(link, "spawn", file=str(place / "bob" / name), arguments=[], user=ANN, **PROGRAM)
        assert (error["kind"], error["errno"], error["found"]) == ("exec", 13, False)
        error = await refusal(
            link,
            "spawn",
            file="true",
            arguments=[],
            user=ANN,
            **{**PROGRAM, "cwd": str(place / "bob" / name)},
        )
        assert (error["kind"], error["why"]) == ("prepare", "Permission denied")


async def test_a_third_user_is_not_heard(holder: asyncio.subprocess.Process, place: Path) -> None:
    path = place / "holder" / SOCKET
    code = (
        f"import socket; channel = socket.socket(socket.AF_UNIX); channel.connect({str(path)!r});"
        " channel.settimeout(30); print(channel.recv(100))"
    )

    async def connect(user: str) -> tuple[bytes, bytes]:
        command = [*prefix_of(user, place / user), sys.executable, "-c", code]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        return done.stdout, done.stderr

    assert holder.returncode is None
    assert b"owner" in (await connect(SERVICE))[0]
    for user in (ANN, FORBIDDEN):
        assert b"PermissionError" in (await connect(user))[1]
    path.chmod(0o666)
    for user in (ANN, FORBIDDEN):
        assert await connect(user) == (b"b''\n", b"")


# -- how it is started


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--allow-user", SERVICE], "needs --run-as"),
        (["--allow-user", SERVICE, "--run-as", ","], "--run-as"),
        (["--allow-user", "no such user", "--run-as", ANN], "there is no user"),
    ],
)
async def test_a_holder_without_limits_for_another_user_does_not_start(
    place: Path, options: list[str], reason: str
) -> None:
    assert reason in await refused_start(place / "holder", *options)


async def test_a_holder_does_not_start_where_others_could_put_another_directory(place: Path) -> None:
    private_directory(place / "service", SERVICE)
    (place / "link").symlink_to(place / "service")
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    for directory in (place / "service" / "holder", place / "link" / "holder", place / "open" / "holder"):
        assert "can be changed by other users" in await refused_start(
            directory, "--allow-user", SERVICE, "--run-as", ANN
        )
        assert not directory.exists()


async def refused_start(directory: Path, *options: str) -> str:
    command = (sys.executable, "-m", "backends.holder", str(directory), *options)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=subprocess.PIPE)
    _, text = await process.communicate()
    assert process.returncode == 2
    return text.decode()
