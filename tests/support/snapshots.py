"""What a kill would leave of a file at every line of the code that writes it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import replay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

T = TypeVar("T")

WATCHED = str(Path(replay.__path__[0]).resolve())


class Snapshots(Generic[T]):
    """Copies of a file, each with what the witness said at that moment; equal ones follow each other once."""

    def __init__(self, path: Path, witness: Callable[[], T]) -> None:
        self.path = path
        self.taken: list[tuple[bytes, T]] = []
        self._witness = witness

    def take(self) -> None:
        """Copy the file as it is now, if it is there."""
        if self.path.exists():
            now = (self.path.read_bytes(), self._witness())
            if not self.taken or self.taken[-1] != now:
                self.taken.append(now)

    @contextmanager
    def at_every_line(self) -> Iterator[None]:
        """Take one before every line of the package `replay` that runs inside."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)
        self.take()

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(WATCHED):
            return None
        if event == "line":
            self.take()
        return self._trace
