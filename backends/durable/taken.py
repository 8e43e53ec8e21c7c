"""The programs of a holder elsewhere that this process has, by their keys there."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backends.base import ExitStatus
    from backends.durable.pty import RemotePty


class Taken:
    """Those of one link, and which of them have something to say."""

    def __init__(self) -> None:
        """Begin with none."""
        self._ptys: dict[int, RemotePty] = {}
        self._marked: dict[int, RemotePty] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ptys)

    def __contains__(self, key: object) -> bool:
        """Tell whether there is one with this key."""
        return key in self._ptys

    def __iter__(self) -> Iterator[RemotePty]:
        """Iterate over those that there are now."""
        return iter(list(self._ptys.values()))

    def get(self, key: int) -> RemotePty | None:
        """Return the one with this key."""
        return self._ptys.get(key)

    def add(self, pty: RemotePty) -> None:
        """Have one more."""
        self._ptys[pty.key] = pty

    def forget(self, pty: RemotePty) -> bool:
        """Have it no more; tell whether it was here."""
        self._marked.pop(pty.key, None)
        return self._ptys.pop(pty.key, None) is not None

    def mark(self, pty: RemotePty) -> None:
        """Note that it has something to say."""
        if pty.key in self._ptys:
            self._marked[pty.key] = pty

    def compose(self) -> Iterator[bytes]:
        """Yield what they have to say, in turn."""
        while self._marked:
            pty = self._marked.pop(next(iter(self._marked)))
            yield b"".join(pty.compose())

    def lose(self, status: ExitStatus) -> None:
        """End all so."""
        lost, self._ptys = self._ptys, {}
        self._marked.clear()
        for pty in lost.values():
            pty.lose(status)
