"""Fixtures of the web client: the service as its users run it, pages of another site, a browser for each test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.browser import Browser, Pictures
from support.console import Console
from support.pages import serving
from support.service import ROOT
from support.shared import process, visit
from support.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator

    from support.console import Opens
    from support.pages import Pages
    from support.shared import SharedService

WEB = ROOT / "clients" / "web"
STATIC = ROOT / "terminal_service" / "static"
OWN = Path(__file__).parent / "pages"
MODULES = {
    "/xterm.js": "@xterm/xterm/lib/xterm.js",
    "/xterm.css": "@xterm/xterm/css/xterm.css",
    "/addon-attach.js": "@xterm/addon-attach/lib/addon-attach.js",
}

EMBEDDER = (
    "default-src 'none'; script-src 'self' {service}; style-src 'self'; img-src blob: data:; font-src {service}; "
    "connect-src http://127.0.0.1:* ws://127.0.0.1:*; base-uri 'none'; form-action 'none'"
)
"""The policy of the other site, as strict as it can be; lines that a test can cut have ports of their own."""

failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest passes by name
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the fixtures know whether the test failed."""
    report = yield
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    return report


@pytest.fixture(scope="session")
def bundle() -> Path:
    """Return where the built web client is; fail if it is not built."""
    if not (STATIC / "index.html").exists() or not (STATIC / "embed" / "terminal-session.js").exists():
        pytest.fail("the web client is not built: `make web` does that", pytrace=False)
    return STATIC


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Return what npm has installed for the web client; fail if it did not."""
    found = WEB / "node_modules"
    if not (found / "@xterm").exists():
        pytest.fail("the web client's packages are not installed: `make web` does that", pytrace=False)
    return found


@pytest.fixture(scope="module")
def pages(node_modules: Path) -> Iterator[Pages]:
    """Serve another site's pages: those of `tests/web/pages`, and xterm.js as its authors ship it."""
    files = {f"/{path.name}": path for path in OWN.iterdir()}
    with serving(files | {name: node_modules / path for name, path in MODULES.items()}) as pages:
        yield pages


@pytest.fixture(scope="module")
def service_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pages: Pages
) -> Iterator[SharedService]:
    """Run a service for the tests of a module, with its SETTINGS and HEADERS; the other site's pages may use it."""
    settings = {"ALLOWED_ORIGINS": pages.origin, **getattr(request.module, "SETTINGS", {})}
    headers = getattr(request.module, "HEADERS", None)
    with process(tmp_path_factory.mktemp("service"), headers=headers, **settings) as service:
        pages.policies["/embed.html"] = EMBEDDER.format(service=service.base_url)
        yield service


@pytest.fixture
async def service(service_process: SharedService) -> AsyncIterator[SharedService]:
    """Give the module's service to a test; the sessions the test leaves are ended."""
    async with visit(service_process) as service:
        yield service


@pytest.fixture
async def browser(
    request: pytest.FixtureRequest, tmp_path: Path, service: SharedService, pages: Pages
) -> AsyncIterator[Browser]:
    """Run a browser whose pages may ask the service and the other site; a failed test leaves pictures."""
    pictures = Pictures(tmp_path, request.node.name)
    async with Browser(pictures, origins=[service.base_url, pages.origin]) as browser:
        yield browser
        if request.node.stash.get(failed, False):
            await browser.shoot_all("failed")
        browser.check()


@pytest.fixture
def site(browser: Browser, service: SharedService, pages: Pages, bundle: Path) -> Site:  # noqa: ARG001 - it is built
    """Give the other site, in whose pages a test shows terminals."""
    return Site(browser, service, pages)


@pytest.fixture
def console(browser: Browser, service: SharedService, bundle: Path) -> Opens:  # noqa: ARG001 - it is built
    """Open consoles: with an address behind `#`, and options of the browser's context."""

    async def opens(address: str = "", **options: Any) -> Console:
        return await Console.open(browser, f"{service.base_url}/{address and f'#{address}'}", **options)

    return opens
