"""The hopper: how much of its input a terminal has taken is known exactly, whoever asks and whenever."""

from __future__ import annotations

import asyncio
import os
import select
import tty
from typing import TYPE_CHECKING

import pytest

from backends.holder.fork import Plan, fork
from backends.holder.hopper import HOPPER_BYTES, PIECE_BYTES, Hopper, make_hopper
from backends.local_pty import LocalPty, Patience
from backends.own_child import OwnChild
from backends.process_table import ProcessTable
from backends.process_tree import ProcessTree
from support.sink import CollectingSink

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

WRITTEN, OFFERED, PLAIN = 0, 8, 16
"""Where the file's words are."""


class Desk:
    """A terminal in raw mode, the hopper's file, and whoever writes to it now."""

    def __init__(self, *, is_plain: bool) -> None:
        self.master, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        os.set_blocking(self.slave, False)
        self.file = make_hopper()
        if is_plain:
            self.store(PLAIN, 1)
        self.hopper = Hopper(self.master, os.dup(self.file))

    def store(self, offset: int, value: int) -> None:
        os.pwrite(self.file, value.to_bytes(8, "little"), offset)

    def read(self, limit: int = 1 << 20) -> bytes:
        """Read what is there, as the program."""
        got = b""
        while len(got) < limit:
            try:
                got += os.read(self.slave, limit - len(got))
            except BlockingIOError:
                break
        return got

    def fill(self, byte: bytes = b"f") -> int:
        """Write until nothing is taken, also after the kernel's own thread has had time; return how much was."""
        total = 0
        while select.select([], [self.master], [], 0.05)[1]:
            total += self.hopper.pour(byte * 50_000)
        return total

    def die(self) -> Hopper:
        """Let another process go on, as the file is."""
        self.hopper.close()
        self.hopper = Hopper(self.master, os.dup(self.file))
        return self.hopper

    def close(self) -> None:
        self.hopper.close()
        for descriptor in (self.master, self.slave, self.file):
            os.close(descriptor)


@pytest.fixture(params=[False, True], ids=["moved", "plain"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    desk = Desk(is_plain=request.param)
    yield desk
    desk.close()


@pytest.fixture
def moving() -> Iterator[Desk]:
    """Only where the kernel moves."""
    desk = Desk(is_plain=False)
    yield desk
    desk.close()


@pytest.mark.platform("linux")
def test_this_kernel_can_move_a_file_into_a_terminal(moving: Desk) -> None:
    assert moving.hopper.pour(b"x") == 1
    assert int.from_bytes(os.pread(moving.file, 8, PLAIN), "little") == 0


def test_all_sizes_arrive_once_and_are_counted_over_many_rounds_of_the_ring(desk: Desk, rng: random.Random) -> None:
    typed = arrived = b""
    while len(typed) < 12 * HOPPER_BYTES:
        data = rng.randbytes(rng.choice([1, 2, 63, 64, 500, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 30_000]))
        rest = memoryview(data)
        while rest:
            taken = desk.hopper.pour(rest)
            rest = rest[taken:]
            arrived += desk.read()
        typed += data
        assert desk.hopper.written == len(typed)
        if rng.random() < 0.2:
            assert desk.die().written == len(typed)
    while len(arrived) < len(typed):
        arrived += desk.read()
    assert arrived == typed


def test_a_program_that_does_not_read_lets_nothing_more_be_taken(desk: Desk) -> None:
    taken = desk.fill()
    assert taken > 0
    assert (desk.hopper.pour(b"x"), desk.hopper.pour(b""), desk.hopper.written) == (0, 0, taken)
    assert desk.die().written == taken
    assert desk.hopper.pour(b"x") == 0


def test_what_was_refused_is_not_in_the_way_of_something_else(desk: Desk) -> None:
    taken = desk.fill()
    got = desk.read()
    while len(got) < taken:  # the kernel hands it over in a thread of its own
        got += desk.read()
    assert got == b"f" * taken
    assert desk.hopper.pour(b"abc") == 3
    while len(got) < taken + 3:
        got += desk.read()
    assert got[-3:] == b"abc"


def test_asking_again_changes_nothing(desk: Desk) -> None:
    desk.hopper.pour(b"12345")
    assert [desk.die().written for _ in range(3)] == [5, 5, 5]


@pytest.mark.platform("linux")
def test_killed_before_the_count_was_stored_it_is_exact_all_the_same(moving: Desk, rng: random.Random) -> None:
    total = 0
    arrived = 0
    while total < 5 * HOPPER_BYTES:
        stored = total
        total += moving.hopper.pour(bytes(rng.randint(1, PIECE_BYTES)))
        arrived += len(moving.read())
        if total - stored <= PIECE_BYTES and rng.random() < 0.8:
            moving.store(WRITTEN, stored)
        assert moving.die().written == total
    while arrived < total:
        arrived += len(moving.read())
    assert moving.read() == b""


def test_where_it_cannot_be_known_what_was_being_written_counts_as_written() -> None:
    desk = Desk(is_plain=True)
    try:
        desk.hopper.pour(b"12345")
        desk.store(OFFERED, 5 + 7)
        assert (desk.die().written, desk.hopper.in_doubt) == (12, 7)
        assert (desk.die().written, desk.hopper.in_doubt) == (12, 0), "told once"
        assert desk.hopper.pour(b"6") == 1
        assert desk.die().written == 13
    finally:
        desk.close()


def test_what_was_typed_is_not_kept(desk: Desk) -> None:
    desk.hopper.pour(b"correct horse battery staple" * 1000)
    desk.fill(b"!")
    assert set(os.pread(desk.file, HOPPER_BYTES, 64)) == {0}
    os.pwrite(desk.file, b"left by one that was killed", 100)
    desk.die()
    assert set(os.pread(desk.file, HOPPER_BYTES, 64)) == {0}


def test_where_the_kernel_cannot_move_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # sendfile(2) refuses such a target
    file = make_hopper()
    hopper = Hopper(descriptor, os.dup(file))
    try:
        data = bytes(range(256)) * 100
        assert hopper.pour(data) == len(data)
        assert hopper.pour(b"x") == 1
        hopper.close()
        hopper = Hopper(descriptor, os.dup(file))
        assert (hopper.written, hopper.in_doubt) == (len(data) + 1, 0)
        assert path.read_bytes() == data + b"x"
    finally:
        hopper.close()
        os.close(descriptor)
        os.close(file)


def test_without_a_file_it_counts_too(desk: Desk) -> None:
    desk.hopper.close()
    desk.hopper = Hopper(desk.master)
    assert desk.hopper.pour(b"abc") == 3
    assert desk.hopper.written == 3
    assert desk.read(3) == b"abc"
    desk.hopper.close()
    desk.hopper.close()


def test_the_file_is_not_inherited() -> None:
    descriptor = make_hopper()
    assert not os.get_inheritable(descriptor)
    os.close(descriptor)


async def test_a_program_at_a_pty_is_typed_to_through_a_hopper() -> None:
    plan = Plan("/bin/cat", [], "/", {"PATH": "/bin:/usr/bin"}, (24, 80))
    forked = await asyncio.to_thread(fork, plan)
    file = make_hopper()
    processes = ProcessTable()
    await processes.start()
    sink = CollectingSink()
    tree = ProcessTree(processes, forked.pid, "no-mark")
    child = OwnChild(asyncio.get_running_loop(), forked._replace(hopper=os.dup(file)))
    pty = LocalPty(child, sink, tree, Patience(leftover=0.3))
    try:
        assert pty.written == 0
        assert pty.write(b"hello\r") == 6
        assert pty.written == 6
        await sink.until(b"hello\r\nhello\r\n")
        pty.write(b"\x04")
        status = await pty.wait()
        assert status.code == 0
        assert pty.written == 7
    finally:
        await pty.close(0.3)
        processes.close()
        os.close(file)
