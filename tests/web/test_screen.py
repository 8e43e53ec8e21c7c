"""What a terminal shows is what programs mean: colours, scripts, emoji, full screens, and a size that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.emulator import look_until
from support.site import PROMPT, program

if TYPE_CHECKING:
    from pathlib import Path

    from support.emulator import Cell
    from support.site import Site

STYLES = (
    r"printf 'one \033[1;31mred\033[0m \033[3;4;38;5;208morange\033[0m \033[9;38;2;10;200;30;44mtrue\033[0m "
    r"\033[7mturned\033[0m end\n'"
)
FAMILY, FLAG, WAVE = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\U0001f44b\U0001f3fd"
GRAPHEMES = {"😀": 2, "終": 2, "é": 1, "e\u0301": 1, "각": 2, FAMILY: 2, FLAG: 2, WAVE: 2, "❤\ufe0f": 2, "ш": 1}
"""What is one character to a reader, with the columns it takes."""
TEXT = "".join(f"{number}: the quick brown fox — 終端機 {number * number}\n" for number in range(200))


async def test_what_is_typed_is_echoed_with_its_colours(site: Site) -> None:
    tab, terminal = await site.shell()
    await terminal.enter(STYLES)
    await terminal.until("^one red orange true turned end$")
    await tab.shoot("colours")

    def look(cell: Cell) -> tuple[str, int | str | None, int | str | None, list[str]]:
        return cell.chars, cell.foreground, cell.background, sorted(cell.style)

    cells = await terminal.cells("one red orange true turned end")
    assert [look(cells[at]) for at in (0, 4, 8, 15, 20)] == [
        ("o", None, None, []),
        ("r", 1, None, ["bold"]),
        ("o", 208, None, ["italic", "underline"]),
        ("t", "#0ac81e", 4, ["strikethrough"]),
        ("t", None, None, ["inverse"]),
    ]


async def test_a_grapheme_is_one_character_as_wide_as_it_looks(site: Site) -> None:
    tab, terminal = await site.shell()
    await terminal.focus()
    await tab.page.keyboard.insert_text("echo '<" + "|".join(GRAPHEMES) + ">'")
    await terminal.press("Enter")
    await terminal.until("^<😀")
    await tab.shoot("graphemes")
    cells = (await terminal.cells("<😀"))[1:]
    seen: dict[str, int] = {}
    while len(seen) < len(GRAPHEMES):
        cell = cells.pop(0)
        seen[cell.chars] = cell.width
        rest = [cells.pop(0) for _ in range(cell.width - 1)]
        assert all(each.width == 0 for each in rest)
        assert cells.pop(0).chars in {"|", ">"}
    assert seen == GRAPHEMES


async def test_vim_takes_the_whole_screen_and_gives_it_back(site: Site, tmp_path: Path) -> None:
    (tmp_path / "text").write_text(TEXT)
    tab, terminal = await site.shell()
    before = await terminal.screen()
    await terminal.enter(f"cd {tmp_path}; clear; {program('vim')} --clean -n -i NONE text")
    await terminal.until("^0: the quick brown fox — 終端機 0$")
    await terminal.type("50G")
    await terminal.until("^49: the quick")
    await terminal.type("ozeile äö 終 ")
    await terminal.press("Escape")
    await terminal.type("yyp:set number\n")
    await terminal.until(r"^ *52 zeile äö 終 ?$")
    shown = await terminal.screen()
    assert shown.kind == "alternate"
    assert len(shown.lines) == shown.size[0] == before.size[0]
    await tab.shoot("vim")
    await terminal.type(":wq\n")
    await terminal.until(PROMPT)
    assert (await terminal.screen()).kind == "normal"
    lines = (tmp_path / "text").read_text().splitlines()
    assert lines[50] == lines[51] == "zeile äö 終 "
    assert lines[:50] + lines[52:] == TEXT.splitlines()


async def test_htop_draws_its_screen_and_takes_keys(site: Site) -> None:
    htop = program("htop")
    tab, terminal = await site.shell()
    await terminal.enter(f"clear; {htop} --no-mouse --delay=5")
    await terminal.until("PID.*USER.*Command")
    await terminal.until("F1Help.*F10Quit")
    await tab.shoot("htop")
    cells = await terminal.cells("F1Help")
    assert cells[2].background is not None
    await terminal.press("F1")
    await terminal.until("Hisham|htop [0-9.]+ - ")
    await tab.shoot("htop-help")
    await terminal.press("Escape", "F10")
    await terminal.until(PROMPT)
    assert (await terminal.screen()).kind == "normal"


async def test_the_size_follows_the_window(site: Site) -> None:
    tab, terminal = await site.shell()
    session = await terminal.session()
    seen: list[tuple[int, int]] = []

    async def settled() -> tuple[int, int] | None:
        size = (await terminal.screen()).size
        view = await site.service.info(session)
        return size if size not in seen and size == (view["rows"], view["cols"]) else None

    for width, height in ((1280, 800), (700, 500), (1500, 900)):
        await tab.page.set_viewport_size({"width": width, "height": height})
        size = await look_until(settled, "terminal and service to agree on a new size")
        seen.append(size)
        await terminal.enter("clear; stty size")
        await terminal.until(f"^{size[0]} {size[1]}$")
        await tab.shoot(f"{width}x{height}")
    assert seen[1] < seen[0] < seen[2]
    assert seen[1][1] < seen[0][1] < seen[2][1]
    assert seen[2][0] > 35
    assert seen[2][1] > 140


async def test_webgl_draws_the_same_and_the_page_when_it_is_lost(site: Site) -> None:
    session = await site.session()
    tab, (terminal,) = await site.embed({"session": session, "renderer": "webgl"})
    tab.watch.expect("GL Driver Message", "CONTEXT_LOST_WEBGL", "webgl context not restored")
    await terminal.until(PROMPT)
    await terminal.enter(STYLES)
    await terminal.until("^one red orange true turned end$")
    canvas = terminal.element.locator(".xterm-screen canvas:not(.xterm-link-layer)")
    await canvas.wait_for()
    assert await terminal.element.locator(".xterm-rows > div").count() == 0
    await tab.shoot("webgl")
    await canvas.evaluate("canvas => canvas.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
    await terminal.element.locator(".xterm-rows").get_by_text("orange").first.wait_for()
    await terminal.enter("echo still here")
    await terminal.until("^still here$")
    await tab.shoot("without-webgl")
