"""Sessions elsewhere as a person sees them in the console: chosen, prepared, cut off and back, lost.

It takes the picture of the documentation, `docs/pictures/backends.png`, where `SCREENSHOTS_DIR` says.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from support.console import Console
from support.kube.server import kube_server
from support.service import Service
from support.sshd import running_sshd
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.browser import Browser
    from support.kube.server import KubeServer
    from support.sshd import Sshd

pytestmark = pytest.mark.platform("linux")

LINES = (
    r'clear; printf "\n\n\n\n"; for i in 1 2 3 4 5 6; do printf "\e[3${i}m━━━━━━ \e[0mcompiled core $i of 6 \n"; done'
)
PROFILES = """
[backends.build1]
kind = "ssh"
description = "the build machine"
host = "{sshd.host}"
port = {sshd.port}
user = "{sshd.user}"
keys = ["{sshd.client_key}"]
known_hosts = "{sshd.known_hosts}"
durable = true
durable_directory = "{sshd.directory}/durable"

[backends.cluster]
kind = "kubernetes"
description = "a pod for each session"
kubeconfig = "{config}"

[backends.cluster.template]
image = "tools:1"
"""


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[Service, Sshd, KubeServer]]:
    (directory / "kube").mkdir()
    async with running_sshd(directory / "sshd") as sshd, kube_server(directory / "kube") as cluster:
        config = cluster.kubeconfig(directory / "kubeconfig")
        profiles = PROFILES.format(sshd=sshd, config=config)
        await asyncio.to_thread((directory / "backends.toml").write_text, profiles)
        file = str(directory / "backends.toml")
        async with Service(directory, BACKENDS_FILE=file, CREATE_WAIT_SECONDS="0.2") as service:
            yield service, sshd, cluster


async def create(page: Console, backend: str, name: str) -> str:
    """Make a session by the dialog; return what was chosen, as a person reads it."""
    await page.button("New session with options").click()
    dialog = page.page.get_by_role("dialog", name="New session")
    await dialog.get_by_label("Name", exact=True).fill(name)
    places = dialog.get_by_label("Where it runs")
    if not await places.is_visible():
        await dialog.get_by_text("Advanced", exact=True).click()
    await places.locator(f"option[value={backend}]").wait_for(state="attached")
    await places.select_option(backend)
    chosen = await places.locator("option:checked").inner_text()
    await dialog.get_by_role("button", name="Start session").click()
    await dialog.wait_for(state="hidden")
    return chosen


async def test_places(browser: Browser, bundle: Path, tmp_path: Path) -> None:
    del bundle  # it is built
    async with served(tmp_path) as (service, sshd, cluster):
        browser.origins.add(service.base_url)
        wide: dict[str, Any] = {"viewport": {"width": 1280, "height": 640}, "color_scheme": "dark"}
        page = await Console.open(browser, service.base_url, **wide)
        assert await create(page, "build1", "release build") == "build1: the build machine"
        [build] = await page.until_panes(1)
        await build.until(r"[#$] $")
        await build.enter(LINES)
        await build.until("core 6 ")
        cluster.cluster.pull_seconds = 30.0
        assert await create(page, "cluster", "load test") == "cluster: a pod for each session"
        first, second = [str(each["session_id"]) for each in (await service.http.get("/api/v1/sessions")).json()]
        await page.page.goto(f"{service.base_url}/#/terminals/({first}+{second})")
        await page.until_panes(2)
        await page.page.get_by_text("Pulling image").first.wait_for()
        await asyncio.to_thread(sshd.stop)
        await page.page.get_by_text("the link is cut").wait_for()
        await page.is_accessible("picture")
        await page.page.goto(f"{service.base_url}/#/sessions")
        await page.page.get_by_text("link lost", exact=True).wait_for()
        await page.tab.shoot("cut")
        await page.page.go_back()
        await page.until_panes(2)
        await asyncio.to_thread(sshd.start)
        await page.page.get_by_text("the link is cut").wait_for(state="hidden")
        assert len(cluster.cluster.pods) == 1
        [pod] = cluster.cluster.pods.values()
        await pod.fail("Evicted", "The node was low on resource: memory.")
        await page.page.get_by_text("low on resource").first.wait_for()
        await page.tab.shoot("lost")
        await service.delete(first, missing_ok=True)
        await service.delete(second, missing_ok=True)
        await wait_until(lambda: not cluster.cluster.store.list("pods"), description="the pod is deleted")
        await page.page.goto("about:blank")  # it would complain of a service that stops
