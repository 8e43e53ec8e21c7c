"""The console in a page: its panes, its address, what has the keyboard, and what axe finds wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.axe import objections
from support.element import Element
from support.emulator import look_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from playwright.async_api import Locator

    from support.browser import Browser, Tab

    Opens = Callable[..., Awaitable["Console"]]
    """Shows a console: with an address behind `#`, and options of the browser's context."""

FOCUS = """() => {
  let element = document.activeElement;
  while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  const pane = element?.closest(".xterm") && element.getRootNode().host.getRootNode().host;
  return [element?.localName ?? "", pane ? pane.id : ""];
}"""
SMALL = """() => {
  const small = [];
  const look = (root) => {
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) look(element.shadowRoot);
      if (!element.matches("button, input, select, a, [role=option]") || element.matches(":not(:focus).skip")) continue;
      const { width, height } = element.getBoundingClientRect();
      if (width > 0 && height > 0 && Math.min(width, height) < 44) {
        const name = element.getAttribute("aria-label") ?? element.textContent.trim();
        small.push(`${element.localName} ${name} ${width} ${height}`);
      }
    }
  };
  look(document);
  return small;
}"""


class Console:
    """The page that the service shows at `/`, in one tab."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.page = tab.page

    @classmethod
    async def open(cls, browser: Browser, url: str, **options: Any) -> Console:
        """Show the console, of the service at `url` or with an address of its own; `options` are the context's."""
        return cls(await browser.open(url, **options))

    @property
    def address(self) -> str:
        """What the page's address says behind the `#`."""
        return self.page.url.partition("#")[2]

    @property
    def panes(self) -> Locator:
        """The panes that can be seen."""
        return self.page.locator("console-pane:visible")

    def button(self, name: str) -> Locator:
        """Return a button by its whole name."""
        return self.page.get_by_role("button", name=name, exact=True)

    async def until_panes(self, count: int) -> list[Element]:
        """Wait until so many panes are shown and attached; return their terminals, left before right."""

        async def are_there() -> bool:
            return await self.panes.count() == count

        await look_until(are_there, f"{count} panes")
        terminals = [Element(self.panes.nth(number).locator("terminal-session")) for number in range(count)]
        for terminal in terminals:
            await terminal.until_state("open")
        return terminals

    async def until_address(self, pattern: str) -> None:
        """Wait until the address matches a regular expression."""
        await self.page.wait_for_function("pattern => RegExp(pattern).test(location.hash)", arg=pattern)

    async def focus(self) -> tuple[str, str]:
        """Return the name of the element that has the keyboard, and the key of its pane if that is a terminal."""
        element, pane = await self.page.evaluate(FOCUS)
        return element, pane

    async def until_terminal(self) -> str:
        """Wait until a terminal has the keyboard; return the key of its pane."""

        async def has_it() -> str:
            return (await self.focus())[1]

        return await look_until(has_it, "a terminal to have the keyboard")

    async def press(self, *chords: str) -> None:
        """Press keys wherever the keyboard is."""
        for chord in chords:
            await self.page.keyboard.press(chord)

    async def do(self, words: str) -> None:
        """Choose from the palette what fits some words best."""
        await self.press("Control+Shift+P")
        await self.page.keyboard.type(words)
        await self.press("Enter")

    async def is_accessible(self, moment: str) -> None:
        """Take a picture, and fail for anything that axe finds."""
        await self.tab.shoot(moment)
        found = await objections(self.page)
        assert not found, f"{moment}: " + "\n".join(found)

    async def small_targets(self) -> list[str]:
        """Return what is harder to touch than 44 by 44 pixels."""
        return list(await self.page.evaluate(SMALL))
