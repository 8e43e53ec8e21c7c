"""What a holder keeps of one program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from backends.holder.processes import started

if TYPE_CHECKING:
    from backends.holder.fork import Forked


class Held:
    """One program and what is kept of it."""

    def __init__(self, key: int, forked: Forked, note: bytes, *, mark: str, is_child: bool = True) -> None:
        self.key = key
        self.pid = forked.pid
        self.descriptors = [forked.master] if forked.hopper is None else [forked.master, forked.hopper]
        self.note = note
        self.is_child = is_child
        self.started = -1.0 if is_child else started(forked.pid)
        self.mark = mark
        self.exit: dict[str, int] | None = None

    def describe(self) -> dict[str, Any]:
        """Return what `list` tells of it."""
        return {"key": self.key, "pid": self.pid, "child": self.is_child, "exit": self.exit, "note": len(self.note)}

    def close(self) -> None:
        """Let go of the terminal; it hangs up unless somebody else has it."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []
