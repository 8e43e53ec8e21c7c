"""The examples of the web package, built and opened as their README says."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.element import Element
from support.pages import serving
from support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.browser import Browser
    from support.pages import Pages
    from support.shared import SharedService

WEB = ROOT / "clients" / "web"
BUILD_SECONDS = 100


@pytest.fixture(scope="module")
def pages(node_modules: Path) -> Iterator[Pages]:
    """Build the examples, and serve them as another site does."""
    del node_modules  # they are there
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    command = [npm, "--prefix", str(WEB), "--silent", "run", "build:examples"]
    subprocess.run(command, check=True, timeout=BUILD_SECONDS, capture_output=True)
    built = WEB / "build" / "examples"
    with serving({f"/{path.relative_to(built)}": path for path in built.rglob("*") if path.is_file()}) as pages:
        yield pages


@pytest.mark.parametrize("name", ["plain", "react", "vue"])
async def test_an_example_shows_a_terminal_to_type_in(
    browser: Browser, service: SharedService, pages: Pages, name: str
) -> None:
    tab = await browser.open(f"{pages.origin}/{name}/index.html?service={service.base_url}")
    terminal = Element(tab.page.locator("terminal-session"))
    await terminal.until_state("open")
    await terminal.enter("echo one | tr o O")
    await terminal.until("^One")
    await tab.page.get_by_text("The terminal is open.").wait_for()
    await tab.shoot(name)
