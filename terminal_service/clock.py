"""The two clocks: monotonic for leases and deadlines, wall for display. A test passes its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Clock:
    """`monotonic` never jumps and is never shown; `wall` is shown and never compared."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
