"""The limit every server shares: how fast a PTY can be read, without a server. Run as `python -m bench.bare`.

Prints one line of JSON. In a process of its own, so that its CPU is counted like a server's.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import resource
import signal
import sys
from time import perf_counter
from typing import TYPE_CHECKING

import uvloop

from bench.text import PROGRAM, READY

if TYPE_CHECKING:
    from collections.abc import Callable

READ_BYTES = 64 * 1024
READS_PER_WAKEUP = 16


def read_tight(fd: int, total_bytes: int) -> None:
    """Read in a loop that does nothing else."""
    buffers = [memoryview(bytearray(READ_BYTES))]
    got = 0
    while got < total_bytes:
        got += os.readv(fd, buffers)


def read_uvloop(fd: int, total_bytes: int) -> None:
    """Read as an event loop does: wait until readable, up to 16 reads, wait again."""
    uvloop.run(_read_uvloop(fd, total_bytes))


async def _read_uvloop(fd: int, total_bytes: int) -> None:
    os.set_blocking(fd, False)
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    buffers = [memoryview(bytearray(READ_BYTES))]
    got = 0

    def readable() -> None:
        nonlocal got
        try:
            for _ in range(READS_PER_WAKEUP):
                got += os.readv(fd, buffers)
        except BlockingIOError:
            pass
        if got >= total_bytes and not done.done():
            done.set_result(None)

    loop.add_reader(fd, readable)
    await done
    loop.remove_reader(fd)


LOOPS: dict[str, Callable[[int, int], None]] = {"tight": read_tight, "uvloop": read_uvloop}


def measure(loop: str, path: str, total_bytes: int) -> dict[str, float]:
    """Print the file at `path` in a new PTY and read it; return `seconds` and `cpu_seconds`."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvp(PROGRAM[0], PROGRAM)
    said = b""
    while READY not in said:
        said += os.read(fd, 4096)
    cpu = _cpu_seconds()
    start = perf_counter()
    os.write(fd, b"cat " + path.encode() + b"\n")
    LOOPS[loop](fd, total_bytes)
    seconds = perf_counter() - start
    cpu = _cpu_seconds() - cpu
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return {"seconds": seconds, "cpu_seconds": cpu}


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
