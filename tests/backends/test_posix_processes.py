"""The end of a program, and of all it started (quality.md A8, C3)."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from typing import TYPE_CHECKING

import psutil
import pytest

from backends.base import ExitStatus, Lost
from backends.forkers import OwnForker
from backends.holder.fork import Forked
from backends.holder.processes import _SECOND_LOOKS, Process, select
from backends.local_pty import Patience
from backends.own_child import OwnChild
from backends.posix import PosixBackend
from backends.process_table import ProcessTable, scan, scan_portably
from backends.process_tree import ProcessTree
from support.terminals import Terminal, Terminals, is_alive, opened, plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

pytestmark = pytest.mark.platform("linux")
on_both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

PYTHON = sys.executable

# Forks twice around a setsid, so that it is nobody's child and in nobody's session; ignores what is not KILL.
ESCAPE = textwrap.dedent("""
    import os, signal, sys, time
    if os.fork(): os._exit(0)
    os.setsid()
    if os.fork(): os._exit(0)
    for name in ("SIGHUP", "SIGTERM"): signal.signal(getattr(signal, name), signal.SIG_IGN)
    print("pid", os.getpid(), flush=True)
    devnull = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2): os.dup2(devnull, descriptor)
    time.sleep(600)
""")

ESCAPES = {
    "in the background": "sleep 600 & echo pid $!",
    "nohup": "nohup sleep 600 >/dev/null 2>&1 & echo pid $!",
    "deaf": "(trap '' HUP TERM; exec sleep 600) & echo pid $!",
    "stopped": "sleep 600 & echo pid $!; kill -STOP $!",
    "a session of its own": "setsid sh -c 'echo pid $$; exec sleep 600' & sleep 0.1",
    "deaf in a session of its own": "setsid sh -c 'trap \"\" HUP TERM; echo pid $$; sleep 600; sleep 600' & sleep 0.1",
    "two forks and setsid": f"{PYTHON} -c '{ESCAPE.replace(chr(39), chr(34))}'; sleep 0.1",
    "a child of a session of its own": "setsid sh -c 'sleep 600 & echo pid $!; wait' & sleep 0.1",
}


async def escaped(terminal: Terminal) -> int:
    """Return the pid that the script printed."""
    start = await terminal.sink.until(b"pid ")
    end = await terminal.sink.until(b"\r\n", start=start)
    pid = int(terminal.output[start:end])
    assert is_alive(pid)
    return pid


@pytest.mark.parametrize("how", ESCAPES)
async def test_closing_ends_what_tried_to_escape(local: Terminals, how: str) -> None:
    terminal = await local.sh(f"{ESCAPES[how]}; echo started; read line")
    pid = await escaped(terminal)
    await terminal.sink.until(b"started")
    await terminal.pty.close(0.2)
    assert not is_alive(pid)
    assert (await terminal.pty.wait()).lost is None


@pytest.mark.parametrize("how", ESCAPES)
async def test_the_end_of_a_program_ends_what_it_left_running(local: Terminals, how: str) -> None:
    # The read is there so that the pid is seen alive.
    terminal = await local.sh(f"{ESCAPES[how]}; read line; exit 9")
    pid = await escaped(terminal)
    await terminal.type(b"\r")
    assert await terminal.wait() == ExitStatus(code=9)
    assert not is_alive(pid)


@on_both_loops
async def test_an_interactive_shell_with_jobs_is_closed(local: Terminals) -> None:
    terminal = await local.run(shell="bash")
    await terminal.type(b"sleep 601 &\rnohup sleep 602 >/dev/null 2>&1 &\recho jo''bs\r")
    await terminal.sink.until(b"jobs\r\n")
    shell = psutil.Process(terminal.pty.pid)
    family = [process.pid for process in [shell, *shell.children(recursive=True)]]
    assert len(family) == 3
    await terminal.pty.close(1)
    assert [pid for pid in family if is_alive(pid)] == []


async def test_a_polite_program_has_its_grace_and_its_last_words(local: Terminals) -> None:
    terminal = await local.sh("trap 'sleep 0.2; echo good bye; exit 4' HUP; echo ready; while :; do sleep 0.05; done")
    await terminal.sink.until(b"ready")
    await terminal.pty.close(5)
    assert await terminal.pty.wait() == ExitStatus(code=4)
    assert b"good bye" in terminal.output


async def test_hangup_then_term_then_kill(local: Terminals) -> None:
    script = "trap 'echo hup' HUP; trap 'echo term' TERM; echo ready; while :; do sleep 0.02; done"
    terminal = await local.run("bash", "-c", script)
    await terminal.sink.until(b"ready")
    await terminal.pty.close(1)
    assert await terminal.pty.wait() == ExitStatus(signal=signal.SIGKILL)
    assert [word for word in terminal.output.split() if word in {b"hup", b"term"}] == [b"hup", b"term"]


async def test_a_close_that_is_given_up_can_be_repeated(local: Terminals) -> None:
    terminal = await local.sh("trap '' HUP TERM; echo ready; while :; do sleep 0.05; done")
    await terminal.sink.until(b"ready")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await terminal.pty.close(60)
    await terminal.pty.close(0)
    assert await terminal.pty.wait() == ExitStatus(signal=signal.SIGKILL)


async def test_terminals_of_one_session_end_alone(local: Terminals) -> None:
    script = "setsid sh -c 'echo pid $$; exec sleep 600' & read line"
    first, second = await local.sh(script), await local.sh(script)
    pids = [await escaped(first), await escaped(second)]
    await first.pty.close(0.3)
    assert [is_alive(pid) for pid in pids] == [False, True]
    assert second.pty.pid is not None
    assert is_alive(second.pty.pid)
    await second.pty.close(0.3)
    assert not is_alive(pids[1])


async def test_what_forks_while_it_is_killed_is_killed_too(local: Terminals) -> None:
    script = "trap '' HUP TERM; echo ready; while :; do (trap '' HUP TERM; sleep 600) & sleep 0.005; done"
    terminal = await local.sh(script)
    await terminal.sink.until(b"ready")
    mark = psutil.Process(terminal.pty.pid).environ()["TERMINAL_PROCESS_TREE"]
    await terminal.pty.close(0.1)
    assert [process for process in await asyncio.to_thread(scan) if process.mark == mark] == []


# -- C3: the last output and the exact end


def burst(number: int, size: int, end: str) -> str:
    return f"head -c {size} /dev/zero | tr '\\0' x; printf '<{number}>'; {end}"


@pytest.mark.full
@on_both_loops
async def test_bursts_and_ends_are_told_exactly(
    local: Terminals, rng: random.Random, size: Callable[[int, int], int]
) -> None:
    ends: list[tuple[str, ExitStatus]] = [
        *((f"exit {code}", ExitStatus(code=code)) for code in (0, 1, 2, 77, 255)),
        *(
            (f"kill -{name} $$", ExitStatus(signal=getattr(signal, f"SIG{name}")))
            for name in ("TERM", "KILL", "INT", "HUP", "USR1", "SEGV", "ABRT", "PIPE")
        ),
    ]
    for number in range(size(200, 2_000)):
        end, expected = rng.choice(ends)
        length = rng.choice([0, 1, 100, 3_000, 4_095, 4_096, 65_536, 200_000])
        holder = "sleep 600 & " if number % 20 == 0 else ""
        terminal = await local.sh(holder + burst(number, length, end))
        assert await terminal.wait() == expected
        assert terminal.output == b"x" * length + b"<%d>" % number


async def test_an_exit_is_told_soon_though_somebody_holds_the_terminal() -> None:
    async with opened(
        PosixBackend(plain_environment(), OwnForker(), patience=Patience(drain=60, leftover=60))
    ) as local:
        # Quiet, it is waited for 250 ms; then HUP ends it.
        terminal = await local.sh("sleep 600 & echo done; exit 7")
        started = asyncio.get_running_loop().time()
        assert await terminal.wait() == ExitStatus(code=7)
        assert asyncio.get_running_loop().time() - started < 15
        assert terminal.output == b"done\r\n"


async def test_what_a_background_process_prints_after_the_exit_is_read_with_a_bound(local: Terminals) -> None:
    terminal = await local.run("bash", "-c", "trap '' HUP TERM; while echo more; do sleep 0.05; done & exit 7")
    assert await terminal.wait() == ExitStatus(code=7)
    assert terminal.output.count(b"more") > 3


async def test_closing_does_not_wait_for_the_last_output_to_dry_up() -> None:
    async with opened(PosixBackend(plain_environment(), OwnForker(), patience=Patience(drain=60))) as local:
        terminal = await local.run("bash", "-c", "trap '' HUP; yes & exit 7")
        await wait_until(lambda: not is_alive(terminal.pty.pid or 0), description="the shell has exited")
        started = asyncio.get_running_loop().time()
        await terminal.pty.close(0.5)
        assert asyncio.get_running_loop().time() - started < 15
        assert await terminal.wait() == ExitStatus(code=7)


async def test_a_terminal_that_nobody_has_open_for_a_while_is_not_over(local: Terminals) -> None:
    script = "exec </dev/null >/dev/null 2>&1; sleep 0.5; echo back >/dev/tty; exit 3"
    terminal = await local.sh(script)
    assert await terminal.wait() == ExitStatus(code=3)
    assert terminal.output == b"back\r\n"


@on_both_loops
async def test_without_a_pidfd_a_thread_waits() -> None:
    async with opened(PosixBackend(plain_environment(), OwnForker(pidfd=False))) as local:
        for script, expected in (
            ("exit 9", ExitStatus(code=9)),
            ("kill -KILL $$", ExitStatus(signal=9)),
            ("sleep 600 & exit 3", ExitStatus(code=3)),
        ):
            terminal = await local.sh(f"echo hello; {script}")
            assert await terminal.wait() == expected
            assert terminal.output == b"hello\r\n"
        terminal = await local.run(shell="bash")
        await terminal.pty.close(1)


async def test_other_children_of_the_service_are_left_to_their_owners(local: Terminals) -> None:
    other = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 5")
    terminal = await local.sh("exit 6")
    assert await terminal.wait() == ExitStatus(code=6)
    assert await other.wait() == 5


async def test_a_status_taken_by_somebody_else_is_lost_not_zero() -> None:
    other = await asyncio.create_subprocess_exec("true")
    await other.wait()
    watch = OwnChild(asyncio.get_running_loop(), Forked(other.pid, -1), pidfd=False)
    status = await watch.exited
    assert (status.code, status.lost) == (None, Lost.NODE)
    watch.reap()


# -- the table of processes


@pytest.mark.parametrize("look", [scan, scan_portably])
async def test_a_look_sees_session_parent_and_mark(local: Terminals, look: Callable[[], list[Process]]) -> None:
    terminal = await local.sh("sleep 600 & echo pid $!; read line")
    pid = await escaped(terminal)
    leader = terminal.pty.pid
    mark = psutil.Process(leader).environ()["TERMINAL_PROCESS_TREE"]
    seen = {process.pid: process for process in await asyncio.to_thread(look)}
    assert (seen[pid].parent, seen[pid].session, seen[pid].mark) == (leader, leader, mark)
    assert leader is not None
    assert seen[leader].parent == psutil.Process(leader).ppid()
    await terminal.pty.close(1)
    assert pid not in {process.pid for process in await asyncio.to_thread(look)}


async def test_a_look_sees_the_mark_of_a_process_that_is_being_given_another_program(local: Terminals) -> None:
    """In the middle of execve(2) it shows no environment; this one is there all the time."""
    escape = """export S='exec sh -c "$S"'; (setsid sh -c 'echo pid $$; exec sh -c "$S"' &); read line"""
    terminal = await local.sh(escape)
    pid = await escaped(terminal)
    assert terminal.pty.pid is not None
    mark = psutil.Process(terminal.pty.pid).environ()["TERMINAL_PROCESS_TREE"]
    await wait_until(lambda: psutil.Process(pid).ppid() == 1, description="its parent to have ended")
    for _ in range(100):
        (seen,) = [process for process in await asyncio.to_thread(scan) if process.pid == pid]
        assert (seen.parent, seen.session, seen.mark) == (1, pid, mark)
    await terminal.pty.close(1)
    assert not is_alive(pid)


async def test_a_process_without_environment_is_told_by_its_session(local: Terminals) -> None:
    terminal = await local.sh("env -i sleep 600 & echo pid $!; read line")
    pid = await escaped(terminal)
    await wait_until(lambda: psutil.Process(pid).cmdline()[:1] == ["sleep"], description="env to have become sleep")
    (seen,) = [process for process in await asyncio.to_thread(scan) if process.pid == pid]
    assert (seen.session, seen.mark) == (terminal.pty.pid, "")
    await terminal.pty.close(1)
    assert not is_alive(pid)


async def test_a_process_that_never_shows_its_environment_is_waited_for_once(
    local: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first thread has ended, and a second one has not."""
    headless = textwrap.dedent("""
        import ctypes, threading, time
        threading.Thread(target=time.sleep, args=[600]).start()
        ctypes.CDLL(None).pthread_exit(None)
    """)
    terminal = await local.run(PYTHON, "-c", headless)
    pid = terminal.pty.pid
    assert pid is not None
    await wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, description="its first thread ends")
    await asyncio.to_thread(scan)
    pauses: list[float] = []
    monkeypatch.setattr("backends.holder.processes.time.sleep", pauses.append)
    assert pid in {process.pid for process in await asyncio.to_thread(scan)}
    assert len(pauses) < len(_SECOND_LOOKS), "it was waited for again"
    monkeypatch.undo()
    await terminal.pty.close(1)
    await wait_until(lambda: not psutil.pid_exists(pid), description="all of it has ended")


def test_a_tree_is_session_mark_and_descendants() -> None:
    def process(pid: int, parent: int, session: int, mark: str = "") -> Process:
        return Process(pid, parent, session, 0, mark)

    processes = [
        process(1, 0, 1),
        process(10, 1, 10),  # the service
        process(20, 10, 20, "ours"),  # the shell
        process(21, 20, 20),  # its child, environment emptied
        process(22, 1, 20),  # orphan in its session
        process(30, 1, 30, "ours"),  # escaped
        process(31, 30, 31),  # child of the escaped
        process(32, 31, 32),
        process(40, 10, 40, "theirs"),
        process(41, 40, 40),
    ]
    assert {found.pid for found in select(processes, 20, "ours")} == {20, 21, 22, 30, 31, 32}
    without_shell = [process for process in processes if process.pid != 20]
    assert {found.pid for found in select(without_shell, 20, "ours")} == {21, 22, 30, 31, 32}


async def test_a_pid_that_has_become_another_process_is_not_signalled() -> None:
    table = ProcessTable()
    other = await asyncio.create_subprocess_exec("sleep", "600")
    seen = next(process for process in await table.look() if process.pid == other.pid)
    earlier = Process(seen.pid, seen.parent, seen.session, seen.started - 1, seen.mark)
    assert await table.signal([earlier], signal.SIGKILL) == []
    await table.look()
    assert is_alive(other.pid)
    assert await table.signal([seen], signal.SIGKILL) == []
    assert await other.wait() == -signal.SIGKILL
    table.close()


async def test_many_ends_at_once_share_their_looks() -> None:
    table = ProcessTable()
    looks = await asyncio.gather(*(table.look() for _ in range(50)))
    assert len({id(seen) for seen in looks}) <= 2
    assert looks[0] is not await table.look()
    table.close()


async def test_a_tree_that_is_gone_needs_no_signal() -> None:
    table = ProcessTable()
    async with asyncio.timeout(30):
        await ProcessTree(table, 2**22 - 1, "nobody's").end(60)
    table.close()
