"""Readers of one terminal, each killed at some moment of a flood, the next going on with the same ring file.

`python -m support.mortal DIRECTORY KILLS SEED RETENTION_BYTES PROGRAM...` holds the terminal's master meanwhile. It
forks the readers from a process that has imported everything: a reader lives for milliseconds. What it prints: how
many were killed, and how many of them between reading and publishing.
"""

from __future__ import annotations

import asyncio
import os
import pty
import random
import signal
import subprocess
import sys
import time
import traceback
import tty
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from backends.master import Master
from replay.file import FileStore
from replay.ringfile import RingFile

if TYPE_CHECKING:
    from replay.log import Log

NAME = "mortal/main"
LIFE_SECONDS = 0.02
END_SECONDS = 60.0


class LogSink:
    """Gives the log's own memory to read into, as a terminal of the service does."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the shape of asyncio.BufferedProtocol
        return self._log.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        self._log.commit(nbytes)

    def data_received(self, data: bytes | bytearray | memoryview) -> None:
        self._log.append(data)

    def drained(self) -> None:
        self._log.notify()

    def resume_writing(self) -> None:
        """Nothing is written here."""


async def read_to_the_end(store: FileStore, descriptor: int) -> None:
    """Append what the program prints until it ends."""
    log = store.open(NAME)
    master = Master(asyncio.get_running_loop(), descriptor, LogSink(log))
    await master.drain(quiet_seconds=END_SECONDS, limit_seconds=END_SECONDS)
    master.close()
    log.close()


def start_reader(store: FileStore, descriptor: int) -> int:
    """Fork a reader that lives until the program's end, and return its process id."""
    reader = os.fork()
    if reader == 0:
        try:
            uvloop.run(read_to_the_end(store, descriptor))
            os._exit(0)
        except BaseException:  # noqa: BLE001 - this is a copy of another process, whose way out it must not take
            traceback.print_exc()
            os._exit(1)
    return reader


def wait_for(reader: int) -> bool:
    """Wait for a reader's end; return whether it was killed."""
    _, status = os.waitpid(reader, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"a reader ended with {code}")
    return code != 0


def kill_soon(reader: int, seconds: float) -> bool:
    """Let a reader live for some time; return whether it had to be killed."""
    time.sleep(seconds)
    os.kill(reader, signal.SIGKILL)
    return wait_for(reader)


def is_torn(directory: Path) -> bool:
    """Tell whether the last reader died between reading and publishing."""
    ring = RingFile.open(directory / f"{NAME}.ring")
    try:
        return ring.torn_bytes > 0
    finally:
        ring.close()


def main(directory: Path, kills: int, seed: str, retention_bytes: int, program: list[str]) -> None:
    """Run the program once, kill its readers up to `kills` times, and let a last one come to the end."""
    chance = random.Random(seed)
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    store = FileStore(directory)
    store.create(NAME, retention_bytes).close()
    running = subprocess.Popen(program, stdout=slave)
    os.close(slave)
    killed = torn = 0
    while killed < kills and kill_soon(start_reader(store, master), chance.uniform(0, LIFE_SECONDS)):
        killed += 1
        torn += is_torn(directory)
    wait_for(start_reader(store, master))
    sys.stdout.write(f"{killed} {torn}\n")
    sys.exit(running.wait())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), sys.argv[5:])
