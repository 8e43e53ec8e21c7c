"""Two browsers of different size at one session: whose size counts is the policy's business, and both see all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from support.emulator import look_until
from support.site import PROMPT

if TYPE_CHECKING:
    from support.browser import Tab
    from support.element import Element
    from support.site import Site

LARGE: dict[str, Any] = {"viewport": {"width": 1400, "height": 900}}
SMALL: dict[str, Any] = {"viewport": {"width": 640, "height": 420}}
FIXED = (30, 100)


class Pair:
    """A large and a small window at one session, each in a context of its own; what fits each alone."""

    fits: ClassVar[dict[str, tuple[int, int]]] = {}

    def __init__(self, site: Site) -> None:
        self.site = site

    async def open(self, policy: str) -> None:
        """Learn what fits each, then open both at a session with this policy: the large one first."""
        for name, options in (("large", LARGE), ("small", SMALL)):
            if name in self.fits:
                continue
            alone, (terminal,) = await self.site.embed({"session": await self.site.session()}, **options)
            await terminal.until(PROMPT)
            self.fits[name] = (await terminal.screen()).size
            await alone.page.context.close()
        self.session = await self.site.session(rows=FIXED[0], cols=FIXED[1], size_policy=policy)
        self.large_tab, self.large = await self._open(LARGE)
        self.small_tab, self.small = await self._open(SMALL)

    async def _open(self, options: dict[str, Any]) -> tuple[Tab, Element]:
        tab, (terminal,) = await self.site.embed({"session": self.session}, **options)
        await terminal.until(PROMPT)
        return tab, terminal

    async def agree(self, size: tuple[int, int], *terminals: Element) -> None:
        """Wait until the program and those who look have this size; then let all see the same."""

        async def agreed() -> bool:
            view = await self.site.service.info(self.session)
            shown = [(await terminal.screen()).size for terminal in terminals]
            return {(view["rows"], view["cols"]), *shown} == {size}

        await look_until(agreed, f"all to have size {size}")
        await terminals[0].enter("clear; stty size; printf '%*s|\\n' $(($(tput cols) - 1)) '' | tr ' ' =")
        for terminal in terminals:
            await terminal.until(f"^{size[0]} {size[1]}\n={{{size[1] - 1}}}\\|\n" + PROMPT)
        seen = {await terminal.screen() for terminal in terminals}
        assert len(seen) == 1

    async def shoot(self) -> None:
        """Take pictures of both."""
        await self.large_tab.shoot("large")
        await self.small_tab.shoot("small")


async def is_letterboxed(terminal: Element) -> bool:
    """Tell whether the terminal is smaller than its place."""
    return bool((await terminal.told("resize"))[-1]["letterboxed"])


@pytest.fixture
def pair(site: Site) -> Pair:
    return Pair(site)


async def test_the_smallest_window_counts_until_it_goes(pair: Pair) -> None:
    await pair.open("smallest")
    await pair.agree(pair.fits["small"], pair.small, pair.large)
    assert await is_letterboxed(pair.large)
    assert not await is_letterboxed(pair.small)
    await pair.shoot()
    await pair.small_tab.page.context.close()
    await pair.agree(pair.fits["large"], pair.large)
    assert not await is_letterboxed(pair.large)


@pytest.mark.parametrize("policy", ["latest", "owner"])
async def test_the_latest_report_counts(pair: Pair, policy: str) -> None:
    # Without API keys both windows are the owner's.
    await pair.open(policy)
    await pair.agree(pair.fits["small"], pair.small, pair.large)
    assert await is_letterboxed(pair.large)
    await pair.large_tab.page.set_viewport_size({"width": 1300, "height": 800})
    await pair.large.until_told("resize", lambda told: told["cols"] > pair.fits["small"][1] and not told["letterboxed"])
    size = (await pair.large.screen()).size
    await pair.agree(size, pair.large, pair.small)
    await pair.shoot()


async def test_a_fixed_size_stays(pair: Pair) -> None:
    await pair.open("fixed")
    await pair.agree(FIXED, pair.large, pair.small)
    assert await is_letterboxed(pair.large)
    await pair.shoot()


async def test_who_only_looks_does_not_count(pair: Pair) -> None:
    await pair.open("smallest")
    await pair.agree(pair.fits["small"], pair.small, pair.large)
    await pair.small_tab.page.context.close()
    _, (viewer,) = await pair.site.embed({"session": pair.session, "access": "viewer"}, **SMALL)
    await pair.agree(pair.fits["large"], pair.large, viewer)
