"""A service that does nothing but type, and is killed: the real keyboard, journal and hopper at a real terminal.

A program of its own, because it forks: `python -m support.typist MODE COUNT SEED` prints what it saw, or fails.

    steps STRIDE SEED   for every STRIDE-th bytecode instruction of the code under test: three service processes in
                        a row are killed exactly there, then one is left alone
    kills COUNT SEED    so many service processes are killed at a random moment, then one is left alone

With `far` behind it the terminal is far away: what it takes is on its way for a while, and lost with its process.

The parent is holder, client and program at once: it keeps the terminal, the hopper and the journal's file, sends
again what was not acknowledged, and reads what arrives. Each client types letters of its own, in a fixed order.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import select
import signal
import struct
import sys
import tempfile
import time
import tty
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import backends.holder.hopper
import terminal_service.journal
import terminal_service.keyboard
from backends.holder.hopper import Hopper, make_hopper
from support.manual import ManualPty
from terminal_service.counters import Counters
from terminal_service.inputs import Verdict
from terminal_service.journal import _CLIENTS, JOURNAL_WORDS, Journal
from terminal_service.keyboard import Keyboard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CODE = {module.__file__ for module in (backends.holder.hopper, terminal_service.journal, terminal_service.keyboard)}
ALPHABETS = {"ann": b"abcdefgh", "bob": b"BCDEFGHIJ", "cleo": b"0123456789"}
UNNUMBERED = b"~"
REPORT = struct.Struct("<4sI")
RESUMED = "half"
ON_ITS_WAY_BYTES = 6000
KILLS_A_STEP = 3
LONGEST_LIFE_SECONDS = 0.01
PATIENCE_SECONDS = 10


def item(client: str, number: int) -> bytes:
    """Return what a client types as its input `number`: mostly a key, sometimes a paste, sometimes nothing."""
    chance = random.Random(f"{client} {number}")
    size = chance.choice([1, 1, 1, 1, 3, 40, 300, 0, 5000, 21000])
    alphabet = ALPHABETS[client]
    start = number % len(alphabet)
    return (alphabet * (size // len(alphabet) + 2))[start : start + size]


class Line(ManualPty):
    """The input side of a real terminal."""

    def __init__(self, master: int, descriptor: int, *, is_far: bool) -> None:
        super().__init__()
        self.is_far = is_far
        self._hopper = Hopper(master, os.dup(descriptor))
        self.written = self._hopper.written

    def write(self, data: bytes | memoryview) -> int:
        """Write what it takes, or lay it into what is on its way."""
        if self.is_far:
            self.room = ON_ITS_WAY_BYTES - self.unconfirmed
            return super().write(data)
        taken = self._hopper.pour(data)
        self.written = self._hopper.written
        return taken

    def arrive(self) -> None:
        """Have the terminal take of what is on its way."""
        self.confirm(self._hopper.pour(bytes(self.typed[len(self.typed) - self.unconfirmed :])))


@dataclass
class Desk:
    """What outlives the service: its holder, its clients, the program that reads."""

    chance: random.Random
    is_far: bool
    seen: bytearray = field(default_factory=bytearray)
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ALPHABETS, 0))
    acknowledged: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ALPHABETS, 0))
    unnumbered: int = 0
    kills: int = 0
    resumed: int = 0

    def __post_init__(self) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        os.set_blocking(self.slave, False)
        self.hopper = make_hopper()
        with tempfile.TemporaryFile() as file:
            file.truncate(JOURNAL_WORDS * 8)
            self.words = memoryview(mmap.mmap(file.fileno(), JOURNAL_WORDS * 8)).cast("Q")

    def close(self) -> None:
        """Release the terminal and the hopper."""
        for descriptor in (self.master, self.slave, self.hopper):
            os.close(descriptor)

    def to_send(self) -> list[tuple[str, int | None, bytes]]:
        """Return what the clients send to a new service process, each its own in order."""
        waiting = {
            client: [
                (client, number, item(client, number)) for number in range(acknowledged + 1, self.sent[client] + 1)
            ]
            for client, acknowledged in self.acknowledged.items()
        }
        items: list[tuple[str, int | None, bytes]] = []
        while any(waiting.values()):
            client = self.chance.choice([client for client, left in waiting.items() if left])
            items.append(waiting[client].pop(0))
            if self.chance.random() < 0.1:
                items.append(("", None, UNNUMBERED))
                self.unnumbered += 1
        return items

    def live(self, prepare: Callable[[], None], kill_after: float | None) -> bool:
        """Let one service process live; return whether it was killed."""
        items = self.to_send()
        reports, report = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reports)
            status = 1
            try:
                serve(self, items, report, prepare)
                status = 0
            finally:
                sys.settrace(None)
                os._exit(status)
        os.close(report)
        try:
            self._listen(reports, pid, kill_after)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or status == 0, f"a service process failed: {status}"
        self.kills += os.WIFSIGNALED(status)
        return os.WIFSIGNALED(status)

    def _listen(self, reports: int, pid: int, kill_after: float | None) -> None:
        """Read the terminal and the acknowledgements until the process is gone."""
        begun = time.monotonic()
        buffer = b""
        while True:
            if kill_after is not None and time.monotonic() - begun > kill_after:
                os.kill(pid, signal.SIGKILL)  # not reaped yet, so it is still this one
                kill_after = None
            assert time.monotonic() - begun < PATIENCE_SECONDS, f"stuck after {len(self.seen)} bytes"
            ready, _, _ = select.select([reports, self.slave], [], [], 0.001 if kill_after is not None else 1)
            if self.slave in ready:
                self.seen += os.read(self.slave, 65536)
            if reports in ready:
                data = os.read(reports, 65536)
                if not data:
                    os.close(reports)
                    return
                buffer += data
                while len(buffer) >= REPORT.size:
                    self._note(*REPORT.unpack_from(buffer))
                    buffer = buffer[REPORT.size :]

    def _note(self, name: bytes, number: int) -> None:
        client = name.rstrip(b"\0").decode()
        if client == RESUMED:
            self.resumed += number
        else:
            self.acknowledged[client] = max(self.acknowledged[client], number)

    def check(self) -> None:
        """Everything was acknowledged, and arrived once and in order."""
        assert self.acknowledged == self.sent, (self.acknowledged, self.sent)
        deadline = time.monotonic() + PATIENCE_SECONDS
        expected = sum(len(item(client, n)) for client, sent in self.sent.items() for n in range(1, sent + 1))
        while len(self.seen) - self.seen.count(UNNUMBERED) < expected and time.monotonic() < deadline:
            if select.select([self.slave], [], [], 0.1)[0]:
                self.seen += os.read(self.slave, 65536)
        while select.select([self.slave], [], [], 0.002)[0]:  # and nothing more
            self.seen += os.read(self.slave, 65536)
        for client, sent in self.sent.items():
            typed = b"".join(item(client, number) for number in range(1, sent + 1))
            arrived = bytes(byte for byte in self.seen if byte in ALPHABETS[client])
            assert arrived == typed, f"{client}: {len(typed)} bytes typed, {len(arrived)} arrived"
        assert self.seen.count(UNNUMBERED) <= self.unnumbered


def serve(desk: Desk, items: Sequence[tuple[str, int | None, bytes]], report: int, prepare: Callable[[], None]) -> None:
    """Be the service: recover, take what the clients send, write it, acknowledge it."""

    def acknowledge(client: str, number: int) -> None:
        os.write(report, REPORT.pack(client.encode(), number))

    prepare()
    line = Line(desk.master, desk.hopper, is_far=desk.is_far)
    keyboard = Keyboard(acknowledge=acknowledge, room=lambda: None, counters=Counters(), journal=Journal(desk.words))
    keyboard.connect(line)
    for client, acknowledged in desk.acknowledged.items():
        count = keyboard.ledger.count(client)
        assert count.taken == count.written >= acknowledged, f"{client}: {count}, {acknowledged} were acknowledged"
    acknowledge(RESUMED, sum(map(bool, desk.words[_CLIENTS + 2 :: 3])))
    for client, number, data in items:
        if number is not None:
            if keyboard.repeats(client, number):
                continue
            assert keyboard.ledger.offer(client, number) is Verdict.TAKE
        keyboard.type(client, number, data)
    room = select.poll()
    room.register(desk.master, select.POLLOUT)
    while keyboard.pending_bytes or line.unconfirmed:
        room.poll(1000)
        line.arrive()
        keyboard.flush()


def killed_at(step: int) -> Callable[[], None]:
    """Return what lets a process be killed before it executes instruction `step` of the code under test."""

    def prepare() -> None:
        left = step

        def trace(frame: Any, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename not in CODE:
                return None
            frame.f_trace_opcodes = True
            if event == "opcode":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)

    return prepare


def nothing() -> None:
    """Prepare nothing."""


def kill_at_steps(stride: int, chance: random.Random, *, is_far: bool) -> dict[str, int]:
    """Kill at every `stride`-th instruction; return counts."""
    step = chance.randint(1, stride)
    kills = resumed = 0
    while True:
        desk = Desk(random.Random(f"{step}"), is_far)
        try:
            was_killed = False
            for _ in range(KILLS_A_STEP):
                for client, count in (("ann", 4), ("bob", 3)):
                    desk.sent[client] += count
                was_killed = desk.live(killed_at(step), None) or was_killed
            desk.live(nothing, None)
            desk.check()
        except BaseException:
            print(f"at step {step}", file=sys.stderr)  # noqa: T201 - for whoever reads why it failed
            raise
        finally:
            desk.close()
        kills, resumed = kills + desk.kills, resumed + desk.resumed
        if not was_killed:
            return {"steps": step, "kills": kills, "resumed": resumed}
        step += stride


def kill_at_random(count: int, chance: random.Random, *, is_far: bool) -> dict[str, int]:
    """Kill so often; return counts."""
    desk = Desk(chance, is_far)
    try:
        while desk.kills < count:
            for client in ALPHABETS:
                desk.sent[client] = min(desk.sent[client] + 30, desk.acknowledged[client] + 60)
            desk.live(nothing, chance.uniform(0, LONGEST_LIFE_SECONDS))
        desk.live(nothing, None)
        desk.check()
        return {"kills": desk.kills, "resumed": desk.resumed, "bytes": len(desk.seen)}
    finally:
        desk.close()


if __name__ == "__main__":
    mode, argument, seed, *where = sys.argv[1:]
    work = {"steps": kill_at_steps, "kills": kill_at_random}[mode]
    print(json.dumps(work(int(argument), random.Random(seed), is_far=where == ["far"])))  # noqa: T201 - its answer
