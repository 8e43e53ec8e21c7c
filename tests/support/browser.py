"""A real browser: Chromium of this machine, headless, driven by Playwright. Only this module starts and ends it.

    async with Browser(pictures) as browser:
        tab = await browser.open(service.base_url)
        await tab.page.get_by_role("button", name="New session").click()

Every test has a browser of its own, with a profile of its own; it costs a second. What a page complains of fails the
test at the end (`support.watch`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
import pytest
from playwright.async_api import Error, async_playwright

from support.leaks import processes_of
from support.wait import wait_until
from support.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from playwright.async_api import Browser as Chromium
    from playwright.async_api import BrowserContext, CDPSession, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # root in a container has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Playwright turns these off or on for the sake of its users' tests; ours ask what users' browsers do.
UNWANTED = ("--disable-back-forward-cache",)
PATIENCE_MILLISECONDS = 30_000
CLOSE_SECONDS = 20.0
PICTURE_MILLISECONDS = 10_000
WIDTH, HEIGHT = 1280, 800


def find_chromium() -> str:
    """Return the path of the browser; skip the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of these browsers is installed: {', '.join(NAMES)}")
    return found


class Pictures:
    """Where screenshots go: `SCREENSHOTS_DIR`, else a directory of the test; named after test and moment."""

    def __init__(self, directory: Path, test: str) -> None:
        self.directory = Path(os.environ.get("SCREENSHOTS_DIR") or directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._test = re.sub(r"[^\w.-]+", "-", test.removeprefix("test_")).strip("-")

    def path(self, moment: str) -> Path:
        """Return the path of a picture."""
        return self.directory / f"{self._test}-{moment}.png"


class Tab:
    """A page with what watches it."""

    def __init__(self, page: Page, pictures: Pictures, origins: Iterable[str]) -> None:
        self.page = page
        self.watch = Watch(page, origins)
        self._pictures = pictures

    async def shoot(self, moment: str) -> Path:
        """Take a picture of what is to be seen; return its path."""
        path = self._pictures.path(moment)
        await self.page.screenshot(path=path, timeout=PICTURE_MILLISECONDS, animations="disabled")
        return path

    async def devtools(self) -> CDPSession:
        """Open a session of the DevTools protocol with this page."""
        return await self.page.context.new_cdp_session(self.page)


class Browser:
    """A browser with its own profile; single-use. `origins`: where pages may ask for anything."""

    def __init__(self, pictures: Pictures, *, origins: Iterable[str] = (), args: Iterable[str] = ()) -> None:
        self.tabs: list[Tab] = []
        self.origins = set(origins)
        self._executable = find_chromium()
        self._pictures = pictures
        self._args = [*FLAGS, *args]
        self.profile = Path()
        self._chromium: Chromium | None = None
        self._stack = contextlib.AsyncExitStack()

    async def context(self, **options: Any) -> BrowserContext:
        """Return a context: pages in one share storage and nothing with those of others."""
        assert self._chromium is not None, "it does not run"
        size = {"width": WIDTH, "height": HEIGHT}
        context = await self._chromium.new_context(**{"viewport": size, "reduced_motion": "reduce", **options})
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        return context

    async def tab(self, context: BrowserContext | None = None, **options: Any) -> Tab:
        """Return a new empty page, in a context of its own if none is given."""
        page = await (context or await self.context(**options)).new_page()
        tab = Tab(page, self._pictures, self.origins)
        self.tabs.append(tab)
        return tab

    async def open(self, url: str, context: BrowserContext | None = None, **options: Any) -> Tab:
        """Return a new page that shows `url`."""
        tab = await self.tab(context, **options)
        await tab.page.goto(url)
        return tab

    async def shoot_all(self, moment: str) -> None:
        """Take a picture of every page that can still be seen."""
        for number, tab in enumerate(self.tabs, 1):
            with contextlib.suppress(Error):
                await tab.shoot(f"{moment}-{number}")

    def check(self) -> None:
        """Fail if a page complained of anything the test did not expect."""
        found = [f"page {number}: {each}" for number, tab in enumerate(self.tabs, 1) for each in tab.watch.unexpected]
        if found:
            pytest.fail("unexpected in the browser:\n  " + "\n  ".join(found), pytrace=False)

    # -- the process

    async def __aenter__(self) -> Self:
        """Start it."""
        self.profile = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="browser-"))
        self._stack.push_async_callback(self._clean)
        try:
            with _temporary_directory(self.profile):
                playwright = await self._stack.enter_async_context(async_playwright())
            self._chromium = await playwright.chromium.launch(
                executable_path=self._executable,
                args=self._args,
                ignore_default_args=list(UNWANTED),
                env={**os.environ, "TMPDIR": str(self.profile), "HOME": str(self.profile)},
            )
            self._stack.push_async_callback(self._chromium.close)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, kindly if it lets us; then by force."""
        if error is not None:
            for number, tab in enumerate(self.tabs, 1):
                for each in tab.watch.problems:
                    error.add_note(f"page {number}: {each}")
        await self._stack.aclose()

    async def _clean(self) -> None:
        """See to it that no process of the browser is left, whatever went wrong before; remove the profile."""
        try:
            await wait_until(
                lambda: not processes_of(self.profile), description="the browser to end", timeout=CLOSE_SECONDS
            )
        except AssertionError:
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    if any(str(self.profile) in word for word in process.cmdline()):
                        process.kill()
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, self.profile, ignore_errors=True)


@contextlib.contextmanager
def _temporary_directory(directory: Path) -> Iterator[None]:
    """Have a program that is started inside make its temporary files there: Playwright's driver makes the profile."""
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(directory)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
