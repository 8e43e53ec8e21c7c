"""The words of the echoing program, and its bounds."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus
from backends.echo import BUFFER_BYTES, EchoBackend
from backends.errors import OutOfResources
from support.terminals import Terminals, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def echoes() -> AsyncIterator[Terminals]:
    async with opened(EchoBackend(limit=2)) as terminals:
        yield terminals


@pytest.mark.parametrize(
    ("line", "printed", "status"),
    [
        (b"exit 7\r", b"exit 7\r", ExitStatus(code=7)),
        (b"exit\n", b"exit\n", ExitStatus(code=0)),
        (b"kill 11\r", b"kill 11\r", ExitStatus(signal=11)),
        (b"hello exit 3\rexit 4\rexit 5\r", b"hello exit 3\rexit 4\r", ExitStatus(code=4)),
        (b"flood 5\rexit 1\r", b"flood 5\rxxxxxexit 1\r", ExitStatus(code=1)),
        (b"size\rexit 2\r", b"size\r24 80\r\nexit 2\r", ExitStatus(code=2)),
        (b"env COLORTERM\rexit 2\r", b"env COLORTERM\rtruecolor\r\nexit 2\r", ExitStatus(code=2)),
    ],
)
async def test_lines_are_echoed_and_obeyed(echoes: Terminals, line: bytes, printed: bytes, status: ExitStatus) -> None:
    terminal = await echoes.run(shell="echo")
    await terminal.type(line)
    assert await terminal.wait() == status
    assert terminal.output == printed


async def test_a_line_may_be_typed_in_pieces(echoes: Terminals) -> None:
    terminal = await echoes.run()
    for byte in b"exit 9\r":
        await terminal.type(bytes([byte]))
    assert (await terminal.wait()).code == 9


async def test_output_that_waits_is_bounded(echoes: Terminals) -> None:
    terminal = await echoes.run()
    terminal.pty.pause_reading()
    assert terminal.pty.write(bytes(2 * BUFFER_BYTES)) == BUFFER_BYTES
    assert terminal.pty.write(b"x") == 0
    terminal.pty.resume_reading()
    await terminal.sink.room.wait()
    await terminal.type(b"x")
    await terminal.sink.until(b"x")
    assert terminal.output == bytes(BUFFER_BYTES) + b"x"
    await terminal.pty.close(0)


async def test_a_flood_can_be_interrupted_in_cooked_mode_only(echoes: Terminals) -> None:
    terminal = await echoes.run()
    assert not terminal.pty.interrupt()
    await terminal.type(b"cooked\rflood 1000000000000\r")
    await terminal.sink.until(b"xxx")
    assert terminal.pty.interrupt()
    await terminal.sink.until(b"^C\r\n")
    await terminal.type(b"raw\rexit 1\r")
    await terminal.sink.until(b"exit 1")
    assert (await terminal.wait()).code == 1


async def test_signals_end_it_unless_they_are_harmless(echoes: Terminals) -> None:
    terminal = await echoes.run()
    terminal.pty.signal(signal.SIGWINCH)
    terminal.pty.resize(30, 90)
    await terminal.type(b"flood 1000000000000\r")
    await terminal.sink.until(b"xxx")
    terminal.pty.signal(signal.SIGTERM)
    assert await terminal.wait() == ExitStatus(signal=signal.SIGTERM)


async def test_there_are_no_more_than_its_limit(echoes: Terminals) -> None:
    first, _ = await echoes.run(), await echoes.run()
    with pytest.raises(OutOfResources):
        await echoes.run()
    await first.pty.close(0)
    await echoes.run()
