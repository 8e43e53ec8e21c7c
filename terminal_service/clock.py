"""The two clocks: monotonic for leases and deadlines, wall for display. A test passes its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def find_boot_id() -> str:
    """Return the kernel's own name of it (random(4)); empty where there is none: then nothing is compared."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class Clock:
    """`monotonic` never jumps and is never shown; `wall` is shown and never compared."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    boot: str = ""
    """Names the start of this machine: `monotonic` goes on over a restart of the process, not of the machine."""
