"""`<terminal-session>` in a page: what it says of itself, what it has told, and typing into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.emulator import Emulator, look_until

if TYPE_CHECKING:
    from collections.abc import Callable


class Element(Emulator):
    """One element. Typing goes to it as from a keyboard: it is focused first."""

    async def session(self) -> str:
        """Return the id of its session."""
        return str(await self.element.get_attribute("session"))

    async def state(self) -> str:
        """Return the state of its client."""
        return str(await self.element.evaluate("element => element.state"))

    async def until_state(self, state: str, *, seconds: float = 30.0) -> None:
        """Wait for a state."""

        async def is_there() -> bool:
            return await self.state() == state

        await look_until(is_there, f"the element to be {state}", seconds=seconds)

    async def told(self, name: str) -> list[Any]:
        """Return the details of every `terminal-<name>` event so far; on pages of the tests only."""
        every = await self.element.evaluate("element => element.told")
        return [detail for event, detail in every if event == f"terminal-{name}"]

    async def until_told(
        self, name: str, fits: Callable[[Any], bool] = lambda _: True, *, since: int = 0, seconds: float = 30.0
    ) -> Any:
        """Wait for an event that fits, after the first `since`; return its detail."""
        last: list[Any] = []

        async def find() -> list[Any]:
            last[:] = (await self.told(name))[since:]
            return [detail for detail in last if fits(detail)]

        try:
            found = await look_until(find, f"terminal-{name}", seconds=seconds)
        except AssertionError as error:
            error.add_note(f"told: {last}")
            raise
        return found[0]

    async def serialize(self) -> str:
        """Return the whole buffer as the element writes it down: scrollback, screen, colours, modes, cursor."""
        return str(await self.element.evaluate("element => element.serialize()"))

    async def focus(self) -> None:
        """Put the keyboard here."""
        await self.element.evaluate("element => element.focus()")

    async def type(self, text: str) -> None:
        """Type, key by key."""
        await self.focus()
        await self.element.page.keyboard.type(text)

    async def press(self, *keys: str) -> None:
        """Press keys by their names."""
        await self.focus()
        for key in keys:
            await self.element.page.keyboard.press(key)

    async def enter(self, line: str) -> None:
        """Type a line, and Enter."""
        await self.type(line)
        await self.press("Enter")
