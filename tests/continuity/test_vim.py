"""vim goes on over ten restarts: its screen is what it is at a terminal that was never disturbed."""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import TYPE_CHECKING, NamedTuple

import pyte
import pytest

from backends.forkers import OwnForker
from backends.posix import PosixBackend
from support.restarts import Restarts, wait_until_back
from support.terminals import opened, plain_environment
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.client import Client
    from support.terminals import Terminal

pytestmark = pytest.mark.platform("linux")

ROWS, COLS = 24, 80
RESTARTS = 10
TEXT = "".join(f"{number}: the quick brown fox — 終端機 {number * number}\n" for number in range(200))
ENVIRONMENT = {"LANG": "C.UTF-8", "TERM": "xterm-256color"}
START = "0: the quick brown fox"
QUIET_SECONDS = 0.2
SHOWN_SECONDS = 15.0
QUIT = b"\x1b:q!\r"


class Screen(NamedTuple):
    """What is to be seen."""

    lines: tuple[str, ...]
    cursor: tuple[int, int]


class Emulator(pyte.Screen):
    """An emulator that is not taken aback by vim's question for the keyboard's mode (CSI ? 4 m)."""

    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        """Change how text looks."""
        if not private:
            super().select_graphic_rendition(*attributes)


def see(output: bytes) -> Screen:
    """Return what an emulator shows after some output."""
    screen = Emulator(COLS, ROWS)
    pyte.ByteStream(screen).feed(output)
    return Screen(tuple(line.rstrip() for line in screen.display), (screen.cursor.y, screen.cursor.x))


def keys(number: int) -> bytes:
    """Return what is typed in a round: text, whatever moves much of the screen, and at last a word in its last line."""
    moves = (b"5j", b"50G", b"/144\r", b":split\r", b"\x06", b"dd", b":only\r", b"gg", b":set number\r", b"zt")
    return b"oround %d \xc3\xa4\xe7\xb5\x82 end\x1b%s:echo 'done %d'\r" % (number, moves[number % len(moves)], number)


def is_done(screen: Screen, number: int) -> bool:
    """Tell whether a round's keys have all been acted on."""
    return screen.lines[-1].startswith(f"done {number}")


def make_command(directory: Path, name: str) -> list[str]:
    """Return a command that edits a file of its own, whose name on the screen is always the same."""
    vim = shutil.which("vim")
    if vim is None:
        pytest.skip("vim is not installed")
    place = directory / name
    place.mkdir()
    (place / "text").write_text(TEXT, encoding="utf-8")
    return ["sh", "-c", f"cd {place} && exec {vim} --clean -n -i NONE text"]


async def see_undisturbed(directory: Path) -> list[Screen]:
    """Return what is to be seen after each round at a terminal of this machine."""
    screens = []
    command = make_command(directory, "direct")
    async with opened(PosixBackend(plain_environment(), OwnForker())) as terminals:
        terminal = await terminals.run(*command, rows=ROWS, cols=COLS, env=ENVIRONMENT)
        await wait_until(lambda: START in see(terminal.output).lines[0], description="vim")
        for number in range(RESTARTS):
            await terminal.type(keys(number))
            screens.append(await last_screen(terminal, number))
    return screens


async def last_screen(terminal: Terminal, number: int) -> Screen:
    """Wait for the end of a round and return what is to be seen then: vim draws its last line before it is done."""
    length = -1
    while not is_done(see(terminal.output), number) or len(terminal.output) != length:
        length = len(terminal.output)
        await asyncio.sleep(QUIET_SECONDS)
    return see(terminal.output)


async def shows(client: Client, expected: Screen, who: str, *, lines: int = ROWS) -> None:
    """Fail unless a client comes to show this, in so many lines from the first."""

    def visible(screen: Screen) -> Screen:
        return screen._replace(lines=screen.lines[:lines])

    try:
        await client.wait(lambda: visible(see(client.data)) == visible(expected), "the screen", seconds=SHOWN_SECONDS)
    except AssertionError:
        assert visible(see(client.data)) == visible(expected), who
        raise


@pytest.mark.timeout(120)
async def test_vim_shows_the_same_over_ten_restarts_and_goes_on(tmp_path: Path) -> None:
    expected = await see_undisturbed(tmp_path)
    async with Restarts(tmp_path) as service:
        command = make_command(tmp_path, "served")
        session = (await service.create_session(command=command, rows=ROWS, cols=COLS, env=ENVIRONMENT))["session_id"]
        async with service.client(session, retry_seconds=0.1) as client:
            await client.wait(lambda: START in see(client.data).lines[0], "vim")
            for number, screen in enumerate(expected):
                half = len(keys(number)) // 2
                client.send_input(keys(number)[:half])
                died = await service.end((signal.SIGKILL, signal.SIGTERM)[number % 2])
                client.send_input(keys(number)[half:])  # while nobody listens
                await service.start()
                await wait_until_back([client], since=died)
                await shows(client, screen, f"round {number}: who was there all the time")
                async with service.client(session, recover_from=None, tail_bytes=0) as late:
                    # vim is made to draw all again for this one, and clears its last line then.
                    await shows(late, screen, f"round {number}: who comes now, without old output", lines=ROWS - 1)
            assert client.transcript.gaps == []
            assert see(await service.output(session)) == see(client.data)
            client.send_input(QUIT)
            assert (await client.wait_ended())["exit_code"] == 0
