"""Input, output, size, signals and the interrupt key of a local terminal."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus
from support.sink import CollectingSink
from support.wait import wait_until

if TYPE_CHECKING:
    from support.terminals import Terminal, Terminals

on_both_loops = pytest.mark.asyncio(loop_factories=["uvloop", "asyncio"])

PASTE_BYTES = 1 << 20
LINES = b"".join(b"%07d %s\n" % (number, b"x" * (number % 90)) for number in range(20_000))


# -- input


@on_both_loops
@pytest.mark.parametrize("echo", ["", "stty -echo; "], ids=["echo", "no echo"])
async def test_a_paste_of_lines_arrives_whole(local: Terminals, tmp_path: Path, echo: str) -> None:
    data = LINES[: LINES.rindex(b"\n", 0, PASTE_BYTES) + 1]
    assert len(data) > PASTE_BYTES - 100
    terminal = await local.sh(f"{echo}echo ready; cat > '{tmp_path}/pasted'; exit 0")
    await terminal.sink.until(b"ready\r\n")
    await terminal.type(data)
    await terminal.type(b"\x04")
    assert (await terminal.wait(30)).code == 0
    assert (tmp_path / "pasted").read_bytes() == data
    if echo:
        assert terminal.output == b"ready\r\n"
    # With echo nothing is asked of the output: the line discipline keeps 4096 bytes of echo for a terminal that is
    # not read as fast as it is typed to, and drops the oldest (Linux drivers/tty/n_tty.c, add_echo_byte).


@on_both_loops
async def test_a_raw_paste_arrives_whole_at_a_slow_reader(local: Terminals, tmp_path: Path) -> None:
    data = os.urandom(PASTE_BYTES)
    slow = f"for i in 1 2 3 4 5 6 7 8; do head -c {PASTE_BYTES // 8}; sleep 0.1; done"
    terminal = await local.sh(f"stty raw -echo; echo ready; ({slow}) > '{tmp_path}/pasted'")
    await terminal.sink.until(b"ready\n")
    await terminal.type(data)
    assert (await terminal.wait(30)).code == 0
    assert (tmp_path / "pasted").read_bytes() == data


async def test_a_program_that_never_reads_is_never_written_beyond_its_bound(local: Terminals) -> None:
    terminal = await local.sh("stty raw -echo; echo ready; exec sleep 600")
    await terminal.sink.until(b"ready\n")
    taken = 0
    while written := terminal.pty.write(bytes(65536)):
        taken += written
        assert taken < PASTE_BYTES
    await terminal.pty.close(0.5)


async def test_input_for_a_program_that_is_gone_is_taken(local: Terminals) -> None:
    terminal = await local.sh("stty raw -echo; echo ready; sleep 0.2; exit 4")
    await terminal.sink.until(b"ready\n")
    await terminal.type(bytes(PASTE_BYTES))
    assert (await terminal.wait()).code == 4


# -- output


@on_both_loops
@pytest.mark.parametrize("memory_bytes", [1, 7, 1000, 4095, 1 << 20])
async def test_output_is_read_into_memory_of_any_size(local: Terminals, memory_bytes: int) -> None:
    length = 20_000 if memory_bytes < 100 else 3_000_000
    script = f"stty raw; openssl enc -aes-128-ctr -K 00 -iv 00 -in /dev/zero 2>/dev/null | head -c {length}"
    expected = await local.sh(f"{script} | sha256sum")
    assert (await expected.wait()).code == 0
    terminal = await local.run("/bin/sh", "-c", script, sink=CollectingSink(memory_bytes))
    assert (await terminal.wait(30)).code == 0
    assert len(terminal.output) == length
    assert hashlib.sha256(terminal.output).hexdigest().encode() in expected.output


async def test_a_sink_that_pauses_in_the_middle_of_reading_gets_no_more(local: Terminals) -> None:
    class Pausing(CollectingSink):
        pty = None

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            if self.pty is not None and len(self.output) > 100_000:
                self.pty.pause_reading()

    sink = Pausing()
    terminal = await local.run(
        "sh", "-c", "stty -echo; printf ready; read line; exec head -c 3000000 /dev/zero", sink=sink
    )
    sink.pty = terminal.pty  # type: ignore[assignment]
    await sink.until(b"ready")
    await terminal.type(b"\n")
    await sink.until_size(100_001)
    stopped = len(sink.output)
    assert stopped < 100_000 + 64 * 1024  # one read more
    other = await local.run("head", "-c", "300000", "/dev/zero")  # what another terminal is read meanwhile
    assert (await other.wait()).code == 0
    assert len(sink.output) == stopped
    sink.pty = None
    terminal.pty.resume_reading()
    assert (await terminal.wait()).code == 0
    assert len(terminal.output) == 3_000_005


async def test_a_flood_in_one_terminal_leaves_others_their_turn(local: Terminals) -> None:
    flood = await local.run("yes")
    quiet = await local.sh("stty raw -echo; echo ready; exec cat")
    await quiet.sink.until(b"ready\n")
    for number in range(20):
        await quiet.type(b"<%d>" % number)
        await quiet.sink.until(b"<%d>" % number, seconds=10)
    await flood.sink.until_size(100_000)
    await flood.pty.close(1)
    await quiet.pty.close(1)


# -- size


async def test_a_resize_is_told_to_the_program(local: Terminals) -> None:
    terminal = await local.sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.02; done")
    await terminal.sink.until(b"ready")
    terminal.pty.resize(44, 155)
    await terminal.sink.until(b"44 155")
    terminal.pty.resize(65535, 1)
    await terminal.sink.until(b"65535 1")
    await terminal.pty.close(1)


# -- signals


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "KILL", "USR1"])
async def test_a_signal_reaches_the_foreground_job_alone(local: Terminals, name: str) -> None:
    terminal = await local.run("bash", "--norc", "-i")
    await terminal.type(b"sleep 601 & sleep 602; echo status=$?; jobs\r")
    await foreground(terminal)
    number = getattr(signal, f"SIG{name}")
    terminal.pty.signal(number)
    if name == "INT":
        await terminal.type(b"echo status=$?\r")  # the rest of the line is given up by the shell
        await terminal.type(b"jobs\r")
    await terminal.sink.until(f"status={128 + number}\r\n".encode())
    await terminal.sink.until(b"Running")
    await terminal.pty.close(1)


async def foreground(terminal: Terminal) -> None:
    """Wait until a job of the shell is in the foreground, and no more a copy of the shell."""
    master = terminal.pty._master.descriptor  # type: ignore[attr-defined]

    def sleeps() -> bool:
        return Path(f"/proc/{os.tcgetpgrp(master)}/comm").read_text() == "sleep\n"

    await wait_until(sleeps, description="a job is in the foreground")


async def test_a_stopped_job_goes_on_by_signal(local: Terminals) -> None:
    terminal = await local.run("bash", "--norc", "-i")
    await terminal.type(b"sleep 600\r")
    await foreground(terminal)
    terminal.pty.signal(signal.SIGTSTP)
    await terminal.sink.until(b"Stopped")
    await terminal.pty.close(1)


async def test_a_signal_that_does_not_exist_is_refused(local: Terminals) -> None:
    terminal = await local.run("sleep", "600")
    for number in (0, 99, -1):
        with pytest.raises(ValueError, match="no such signal"):
            terminal.pty.signal(number)
    await terminal.pty.close(1)


async def test_without_a_foreground_group_there_is_nobody_to_signal(local: Terminals) -> None:
    terminal = await local.run(sys.executable, "-c", FOREGROUND_IS_GONE)
    await terminal.sink.until(b"gone")
    for number in (signal.SIGTERM, signal.SIGINT):
        with pytest.raises(ProcessLookupError):
            terminal.pty.signal(number)
    await terminal.pty.close(1)


FOREGROUND_IS_GONE = """
import os, signal, time
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
reader, writer = os.pipe()
child = os.fork()
if not child:
    os.read(reader, 1)
    os._exit(0)
os.setpgid(child, child)
os.tcsetpgrp(0, child)
os.write(writer, b"x")
os.waitpid(child, 0)
os.write(1, b"gone")
time.sleep(600)
"""


# -- the interrupt key


@on_both_loops
async def test_the_interrupt_key_works_in_front_of_a_full_queue(local: Terminals) -> None:
    terminal = await local.sh("echo ready; exec sleep 600")
    await terminal.sink.until(b"ready")
    for _ in range(20):  # the kernel moves what it can from one buffer to the next meanwhile
        terminal.pty.write(LINES[:65536])
        await asyncio.sleep(0.005)
    assert terminal.pty.write(LINES[:65536]) == 0
    assert terminal.pty.interrupt()
    assert await terminal.wait() == ExitStatus(signal=signal.SIGINT)
    assert terminal.output.endswith(b"^C")


async def test_the_interrupt_key_discards_what_was_typed_before_it(local: Terminals) -> None:
    script = "trap 'echo interrupted' INT; echo ready; while ! read -r line; do :; done; echo \"[$line]\""
    terminal = await local.run("bash", "-c", script)
    await terminal.sink.until(b"ready")
    await terminal.type(b"never to be read")
    # bash runs a trap after the command, not within it: a signal just before it reads waits for the next one.
    await wait_until(lambda: terminal.pty.interrupt() and b"interrupted" in terminal.output, description="the trap")
    await terminal.type(b"what came after\r")
    assert (await terminal.wait()).code == 0
    assert b"[what came after]" in terminal.output


async def test_the_interrupt_key_restarts_stopped_output(local: Terminals) -> None:
    terminal = await local.run("bash", "-c", "trap 'echo interrupted; exit 3' INT; echo ready; while :; do :; done")
    await terminal.sink.until(b"ready")
    await terminal.type(b"\x13")  # ^S
    assert terminal.pty.interrupt()
    assert (await terminal.wait()).code == 3
    assert b"interrupted" in terminal.output


@pytest.mark.parametrize("mode", ["raw", "-isig", "intr undef"])
async def test_the_interrupt_key_is_a_byte_where_it_is_switched_off(local: Terminals, mode: str) -> None:
    terminal = await local.sh(f"stty {mode}; echo ready; exec sleep 600")
    await terminal.sink.until(b"ready")
    assert not terminal.pty.interrupt()
    await terminal.pty.close(1)


async def test_another_interrupt_key_is_the_one_that_is_typed(local: Terminals) -> None:
    terminal = await local.sh("stty intr ^K; echo ready; exec sleep 600")
    await terminal.sink.until(b"ready")
    assert terminal.pty.interrupt()
    assert await terminal.wait() == ExitStatus(signal=signal.SIGINT)
    assert terminal.output.endswith(b"^K")


async def test_with_noflsh_an_interrupt_keeps_the_queue(local: Terminals) -> None:
    script = "stty noflsh; trap 'echo interrupted' INT; echo ready; while ! read -r line; do :; done; echo \"[$line]\""
    terminal = await local.run("bash", "-c", script)
    await terminal.sink.until(b"ready")
    await terminal.type(b"kept ")
    assert terminal.pty.interrupt()
    await terminal.sink.until(b"interrupted")
    await terminal.type(b"and read\r")
    assert (await terminal.wait()).code == 0
    assert b"[kept and read]" in terminal.output
