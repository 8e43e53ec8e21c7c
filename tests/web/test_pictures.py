"""The pictures of the documentation (`docs/pictures`): what a person sees who works in the console.

They are taken where `SCREENSHOTS_DIR` says, as `console-picture.png` and `phone-picture.png`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.element import Element
from support.site import ENVIRONMENT, program

if TYPE_CHECKING:
    from pathlib import Path

    from support.browser import Browser
    from support.shared import SharedService

COLOURS = r'for i in 1 2 3 4 5 6; do printf "\e[3${i}m━━━━ \e[1mline $i\e[0m  終端機 🦊 é\n"; done'
TEXT = 'async def attach(url: str) -> None:\n    """Follow a terminal."""\n    async with connect(url) as ws:\n' * 8


async def session(service: SharedService, name: str, *command: str) -> str:
    view = await service.create_session(command=command, name=name, env=ENVIRONMENT)
    return str(view["session_id"])


async def test_console(browser: Browser, service: SharedService, bundle: Path, tmp_path: Path) -> None:
    del bundle  # it is built
    (tmp_path / "attach.py").write_text(TEXT)
    shell = await session(service, "deploy", "bash", "--norc")
    editor = await session(service, "editor", program("vim"), "-Nu", "NONE", "+syntax on", str(tmp_path / "attach.py"))
    wide: dict[str, Any] = {"viewport": {"width": 1280, "height": 640}, "color_scheme": "dark"}
    tab = await browser.open(f"{service.base_url}/#/terminals/({shell}+{editor})", **wide)
    left, right = (Element(tab.page.locator("terminal-session").nth(number)) for number in range(2))
    await right.until("async def attach")
    await left.until(r"\$ $")
    await left.enter(f"clear; {COLOURS}")
    await left.until("line 6 ")
    await tab.page.get_by_text("kept alive by a viewer").first.wait_for()
    await tab.shoot("picture")


async def test_phone(browser: Browser, service: SharedService, bundle: Path) -> None:
    del bundle  # it is built
    shell = await session(service, "deploy", "bash", "--norc")
    phone: dict[str, Any] = {
        "viewport": {"width": 390, "height": 700},
        "has_touch": True,
        "is_mobile": True,
        "color_scheme": "light",
    }
    tab = await browser.open(f"{service.base_url}/#/terminals/{shell}", **phone)
    terminal = Element(tab.page.locator("terminal-session"))
    await terminal.until(r"\$ $")
    await terminal.enter(f"clear; {COLOURS}")
    await terminal.until("line 6 ")
    await tab.page.get_by_role("button", name="Esc", exact=True).wait_for()
    await tab.shoot("picture")
