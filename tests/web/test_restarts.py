"""The console stays while the service goes: killed, told to end, or replaced under it; no reload, nothing lost."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from support.console import Console
from support.restarts import Restarts
from support.site import ENVIRONMENT, PROMPT, SHELL

if TYPE_CHECKING:
    from pathlib import Path

    from support.browser import Browser

pytestmark = pytest.mark.platform("linux")

AWAY = ("WebSocket connection to .* failed", "net::ERR_", "answered 503", "Failed to load resource: .* 503")
ENDS = (signal.SIGKILL, signal.SIGTERM, None)


async def test_the_console_goes_on_over_every_end_of_the_service(
    browser: Browser, tmp_path: Path, bundle: Path
) -> None:
    del bundle  # it is built
    async with Restarts(tmp_path) as service:
        browser.origins.add(service.base_url)
        view = await service.create_session(command=SHELL, env=ENVIRONMENT, name="the survivor")
        page = await Console.open(browser, f"{service.base_url}/#/terminals/{view['session_id']}")
        page.tab.watch.expect(*AWAY)
        (terminal,) = await page.until_panes(1)
        await terminal.until(PROMPT)
        for number, end in enumerate(ENDS):
            await terminal.enter(f"echo before {number}")
            await terminal.until(f"^before {number}$")
            if end is None:
                await service.replace()
            else:
                await service.end(end)
                await terminal.until_state("waiting")
                await terminal.enter(f"echo meanwhile {number}")
                await page.tab.shoot(f"away-{number}")
                await service.start()
                await terminal.until_state("open")
                await terminal.until(f"^meanwhile {number}$")
            await terminal.enter(f"echo after {number}")
            await terminal.until(f"^after {number}$")
        text = (await terminal.text()).splitlines()
        for number, end in enumerate(ENDS):
            for word in ("before", "meanwhile", "after"):
                assert text.count(f"{word} {number}") == (0 if word == "meanwhile" and end is None else 1)
        await page.page.get_by_role("row", name="running running the survivor").wait_for()
        await page.page.get_by_role("button", name="The service is healthy").wait_for()
        await page.tab.shoot("after")
        assert page.tab.watch.loads == 1
        await terminal.enter("exit")
        await terminal.until_state("ended")
