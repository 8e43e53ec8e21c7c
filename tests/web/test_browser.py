"""The tests' own browser: it hears what a page complains of, and nothing of it stays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psutil
import pytest

from support.browser import Browser, Pictures
from support.leaks import processes_of
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from support.pages import Pages

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' http://127.0.0.2:9"
FAULTS = (
    "console error: an error told",
    "Content Security Policy directive 'style-src 'self''",
    r"answered 404: GET http://127\.0\.0\.1:\d+/missing",
    r"asked another host: http://127\.0\.0\.2:9/elsewhere",
    r"failed: GET http://127\.0\.0\.2:9/elsewhere",
    "uncaught TypeError: nobody catches this",
)


async def test_no_fault_of_a_page_stays_unheard(tmp_path: Path, pages: Pages) -> None:
    pages.policies["/wrong.html"] = POLICY
    async with Browser(Pictures(tmp_path, "faults"), origins=[pages.origin]) as browser:
        tab = await browser.open(f"{pages.origin}/wrong.html")

        def missing() -> list[str]:
            return [fault for fault in FAULTS if not any(re.search(fault, each) for each in tab.watch.problems)]

        await wait_until(lambda: not missing(), description="every fault to be heard")
        with pytest.raises(pytest.fail.Exception, match="unexpected in the browser"):
            browser.check()
        tab.watch.expect(*FAULTS, "Failed to load resource")
        browser.check()
        await tab.page.reload()
        assert tab.watch.loads == 2


async def test_a_browser_that_crashed_leaves_nothing(tmp_path: Path, pages: Pages) -> None:
    browser = Browser(Pictures(tmp_path, "crashed"), origins=[pages.origin])
    async with browser:
        await browser.open(f"{pages.origin}/attach.html")
        # Other tests' children may be here too: what they share is ended with the last of them.
        (chromium,) = [
            each for child in psutil.Process().children() for each in child.children() if "chrom" in each.name()
        ]
        chromium.kill()
        await wait_until(lambda: not chromium.is_running(), description="the crash")
    assert not browser.profile.exists()
    assert not processes_of(browser.profile)
