"""What a node that is alone makes its sessions known to: itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodes.memory_directory import MemoryDirectory
from terminal_service.publisher import Publisher
from transports.views import describe

if TYPE_CHECKING:
    from terminal_service.clock import Clock


def publisher_of_one(clock: Clock) -> Publisher:
    return Publisher(
        MemoryDirectory(),
        "this",
        describe=lambda session: describe(session, "this"),
        user_limit=1000,
        clock=clock,
    )
