"""When descriptors, terminals or processes run out (quality.md L5), and what a cycle leaves behind (L4)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.wait import poll_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.terminals import Terminals

pytestmark = pytest.mark.platform("linux")
on_both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

PRELUDE = """
import asyncio, gc, os, resource, sys, threading
import uvloop
from pathlib import Path
from backends.errors import OutOfResources
from backends.forkers import HolderForker, OwnForker
from backends.posix import PosixBackend
from support.wait import poll_until
from support.terminals import opened, plain_environment

def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True

def descriptors():
    return sum(map(is_open, range(1024)))  # a look at /proc would need one more

async def use(terminal):
    start = len(terminal.output)
    await terminal.type(b"echo x$((6*7))y\\r")
    await terminal.sink.until(b"x42y", start=start)

async def until_refused(local):
    # Start shells until one is refused; the refusal must leave nothing.
    terminals = []
    while True:
        before = descriptors()
        try:
            terminals.append(await local.run(shell="sh"))
        except OutOfResources as refusal:
            for _ in range(20):
                try:
                    terminals.append(await local.run(shell="sh"))
                except OutOfResources:
                    pass
            assert descriptors() <= before, (descriptors(), before)
            return terminals, str(refusal)

async def main():
    forker = HolderForker(Path(sys.argv[2])) if len(sys.argv) > 2 else OwnForker()
    async with opened(PosixBackend(plain_environment(), forker)) as local:
        prepare()
        first = await local.run(shell="sh")
        await use(first)
        held = descriptors()
        limit()
        terminals, reason = await until_refused(local)
        print(len(terminals), reason)
        for terminal in [first, *terminals]:
            await use(terminal)
        for terminal in terminals:
            await terminal.pty.close(0.5)
        assert descriptors() == held, (descriptors(), held)
        if terminals:  # else the limit was too low for any
            await use(await local.run(shell="sh"))
        await use(first)

def check():
    poll_until(lambda: threading.active_count() == 1, description="no thread is left")
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("no child is left")
"""

DESCRIPTORS = """
def prepare(): pass

def limit():
    soft = max(int(name) for name in os.listdir("/proc/self/fd")) + int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
"""

TERMINALS = """
def prepare(): pass

def limit(): pass
"""

PROCESSES = """
def prepare():
    # The limit does not hold for root, and counts threads too, and those of other tests of the same user.
    os.setgroups([])
    os.setgid(65534)
    os.setuid(300_000 + os.getpid())

def limit():
    resource.setrlimit(resource.RLIMIT_NPROC, (6, 6))
"""

RUN = {"asyncio": "asyncio.run(main()); check()", "uvloop": "uvloop.run(main()); check()"}


def program(limit: str, loop: str, *arguments: str, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a program in a process of its own; return how many terminals there were, and the reason of the refusal."""
    text = "\n".join([PRELUDE, textwrap.dedent(limit), RUN[loop]])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*before, sys.executable, "-W", "error", "-c", text, *arguments]
    result = subprocess.run(
        command, env=environment, cwd=Path.cwd(), capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    refused, *_, end = result.stdout.splitlines()  # between: without a descriptor the process table cannot be read
    assert end == "no child is left"
    count, reason = refused.split(" ", 1)
    return int(count), reason


@pytest.mark.parametrize("spare", range(2, 10))
def test_out_of_descriptors_refuses_and_recovers(spare: int) -> None:
    # Each number of spare descriptors runs out at another step of a start.
    count, reason = program(DESCRIPTORS, "uvloop" if spare % 2 else "asyncio", str(spare))
    assert count <= spare // 2
    assert "Too many open files" in reason


@pytest.mark.parametrize("spare", range(1, 7))
def test_without_room_for_what_a_holder_sends_a_start_is_refused_and_recovers(spare: int, tmp_path: Path) -> None:
    count, reason = program(DESCRIPTORS, "uvloop" if spare % 2 else "asyncio", str(spare), str(tmp_path / "holder"))
    assert count <= spare
    assert "Too many open files" in reason


@pytest.mark.parametrize("loop", RUN)
def test_out_of_terminals_refuses_and_recovers(loop: str) -> None:
    most = 4
    # A device file system of its own, with few terminals in it.
    mounts = (
        f"mount -t devpts -o newinstance,ptmxmode=666,max={most} devpts /dev/pts"
        " && mount --bind /dev/pts/ptmx /dev/ptmx"
    )
    own_devices = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    namespace = (*own_devices, "sh", "-c", f'{mounts} && exec "$@"', "sh")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system does not let a user mount a devpts of its own")
    count, reason = program(TERMINALS, loop, before=namespace)
    assert count == most - 1
    assert "no terminal (PTY) left: No space left on device" in reason


@pytest.mark.skipif(os.geteuid() != 0, reason="changes to a user with no other processes")
def test_out_of_processes_refuses_and_recovers() -> None:
    count, reason = program(PROCESSES, "uvloop")
    assert 1 <= count <= 5
    assert reason == "out of resources: Resource temporarily unavailable"


OTHER_USER = """
import asyncio, os, shlex, sys
from backends.base import Lost
from backends.forkers import OwnForker
from backends.local_pty import Patience
from backends.forkers import OwnForker
from backends.posix import PosixBackend
from support.terminals import opened, plain_environment
from support.wait import wait_until

def is_reaped(pid):
    return not os.path.exists(f"/proc/{pid}")

async def main():
    backend = PosixBackend(plain_environment(), OwnForker(pidfd=PIDFD), patience=Patience(leftover=0.1))
    async with opened(backend) as local:
        path = sys.argv[1]
        told = os.open(path, os.O_WRONLY | os.O_CREAT)
        waits = f"while [ ! -s {shlex.quote(path)} ]; do sleep 0.1; done"
        terminal = await local.sh(f"trap '' HUP TERM INT; echo ready; {waits}")
        await terminal.sink.until(b"ready")
        os.setuid(65534)
        await terminal.pty.close(0.1)
        assert (await terminal.wait()).lost is Lost.NODE
        pid = terminal.pty.pid
        assert not is_reaped(pid)
        os.write(told, b"end")
        await wait_until(lambda: is_reaped(pid), description="it was reaped when it ended")

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a program that this user may not signal")
@pytest.mark.parametrize("pidfd", [True, False])
def test_a_program_that_may_not_be_ended_is_let_go_and_reaped_later(tmp_path: Path, *, pidfd: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    text = OTHER_USER.replace("PIDFD", str(pidfd))
    command = [sys.executable, "-W", "error", "-c", text, str(tmp_path / "told")]
    subprocess.run(command, env=environment, timeout=60, check=True)


async def cycle(local: Terminals, number: int) -> None:
    """Start a program and end it, each time in another way."""
    match number % 5:
        case 0:
            terminal = await local.run(shell="bash")
            await terminal.sink.until_size(1)
            await terminal.pty.close(2)
        case 1:
            await (await local.sh("head -c 100000 /dev/zero; exit 3")).wait()
        case 2:
            await (await local.run("no-such-command")).wait()
        case 3:
            await (await local.run("/etc/passwd")).wait()
        case 4:
            await (await local.sh("sleep 600 & exit 0")).wait()


def held() -> tuple[int, int, int]:
    return (
        len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - a count
        threading.active_count(),
        len(psutil.Process().children(recursive=True)),
    )


@pytest.mark.full
@on_both_loops
async def test_cycles_leave_nothing(local: Terminals, size: Callable[[int, int], int]) -> None:
    for number in range(5):
        await cycle(local, number)
    before, tasks = await asyncio.to_thread(held), len(asyncio.all_tasks())
    for number in range(size(100, 10_000)):
        await cycle(local, number)
    description = "descriptors, threads and children are as before"
    await asyncio.to_thread(poll_until, lambda: held() == before, description=description)
    assert len(asyncio.all_tasks()) == tasks
