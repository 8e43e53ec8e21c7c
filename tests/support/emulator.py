"""What a terminal emulator in a page holds: its cells, its cursor, its modes, asked of xterm.js itself."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playwright.async_api import Locator

T = TypeVar("T")

PAUSE_SECONDS = 0.02
"""Between two looks: a browser that is asked all the time does nothing else."""

SCREEN = """terminal => {
  const buffer = terminal.buffer.active;
  const line = (y) => buffer.getLine(buffer.baseY + y)?.translateToString(true) ?? "";
  return {
    lines: Array.from({ length: terminal.rows }, (_, y) => line(y)),
    cursor: [buffer.cursorY, buffer.cursorX],
    kind: buffer.type,
    size: [terminal.rows, terminal.cols],
  };
}"""

TEXT = """terminal => {
  const buffer = terminal.buffer.active;
  const lines = [];
  for (let y = 0; y < buffer.length; y++) {
    const line = buffer.getLine(y);
    const text = line.translateToString(true);
    if (line.isWrapped && lines.length) lines[lines.length - 1] += text;
    else lines.push(text);
  }
  return lines.join("\\n").trimEnd();
}"""

CELL = """cell => {
  const color = (rgb, palette, value) => rgb ? `#${value.toString(16).padStart(6, "0")}` : palette ? value : null;
  return [
    cell.getChars(), cell.getWidth(),
    color(cell.isFgRGB(), cell.isFgPalette(), cell.getFgColor()),
    color(cell.isBgRGB(), cell.isBgPalette(), cell.getBgColor()),
    [cell.isBold() && "bold", cell.isItalic() && "italic", cell.isUnderline() && "underline",
     cell.isInverse() && "inverse", cell.isStrikethrough() && "strikethrough"].filter(Boolean),
  ];
}"""

LOOK = f"""terminal => {{
  const buffer = terminal.buffer.active;
  const look = {CELL};
  const cells = Array.from({{ length: terminal.rows }}, (_, y) => {{
    const line = buffer.getLine(buffer.baseY + y);
    return Array.from({{ length: terminal.cols }}, (_, x) => look(line.getCell(x)).join(" ")).join("|");
  }});
  return {{ cells, cursor: [buffer.cursorY, buffer.cursorX], kind: buffer.type, modes: {{ ...terminal.modes }} }};
}}"""

CELLS = f"""(terminal, wanted) => {{
  const buffer = terminal.buffer.active;
  const look = {CELL};
  for (let y = buffer.length - 1; y >= 0; y--) {{
    const line = buffer.getLine(y);
    if (line.translateToString(true).includes(wanted)) {{
      return Array.from({{ length: terminal.cols }}, (_, x) => look(line.getCell(x)));
    }}
  }}
  return null;
}}"""


async def look_until(look: Callable[[], Awaitable[T | None]], what: str, *, seconds: float = 30.0) -> T:
    """Ask until the answer is true, and return it; fail after so many seconds. Leaves the browser time in between."""

    async def look_again() -> T | None:
        await asyncio.sleep(PAUSE_SECONDS)
        return await look()

    return await wait_until(look_again, description=what, timeout=seconds)


class Screen(NamedTuple):
    """What is to be seen; `kind` is "normal" or "alternate", `size` rows and columns."""

    lines: tuple[str, ...]
    cursor: tuple[int, int]
    kind: str
    size: tuple[int, int]

    @property
    def text(self) -> str:
        """The lines as one."""
        return "\n".join(self.lines)


class Cell(NamedTuple):
    """One cell: a grapheme, 0 to 2 columns wide; colours are a number of the palette, `#rrggbb`, or None."""

    chars: str
    width: int
    foreground: int | str | None
    background: int | str | None
    style: frozenset[str]


class Emulator:
    """The xterm.js terminal that `find`, a function of JavaScript, returns for an element."""

    def __init__(self, element: Locator, find: str = "element => element.terminal") -> None:
        self.element = element
        self._find = find

    async def ask(self, function: str, argument: object = None) -> Any:
        """Return what a function of JavaScript says of the terminal."""
        return await self.element.evaluate(
            f"(element, argument) => ({function})(({self._find})(element), argument)", argument
        )

    async def screen(self) -> Screen:
        """Return what is to be seen."""
        told = await self.ask(SCREEN)
        return Screen(tuple(told["lines"]), tuple(told["cursor"]), told["kind"], tuple(told["size"]))

    async def text(self) -> str:
        """Return all text, scrolled out or not; wrapped lines are whole."""
        return str(await self.ask(TEXT))

    async def cells(self, text: str) -> list[Cell]:
        """Return the cells of the last line that has this text."""
        told = await self.ask(CELLS, text)
        assert told is not None, f"no line has {text!r}: {await self.text()}"
        return [Cell(chars, width, front, back, frozenset(style)) for chars, width, front, back, style in told]

    async def look(self) -> Any:
        """Return all that decides how the screen looks and what keys send, to be compared."""
        return await self.ask(LOOK)

    async def until(self, pattern: str, *, seconds: float = 30.0) -> re.Match[str]:
        """Wait until the screen has what a regular expression finds; lines are joined by newlines."""
        compiled = re.compile(pattern, re.MULTILINE)
        last = ""

        async def find() -> re.Match[str] | None:
            nonlocal last
            last = (await self.screen()).text
            return compiled.search(last)

        try:
            return await look_until(find, f"{pattern!r} on the screen", seconds=seconds)
        except AssertionError as error:
            error.add_note(f"the screen:\n{last}")
            raise
