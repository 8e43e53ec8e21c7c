"""What the core counts on its hot paths: plain integers, read by whoever exports them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(slots=True)
class Durations:
    """How long things lasted: one count for each bound in seconds, up to and including it, and one beyond."""

    BOUNDS: ClassVar = (60, 300, 600, 1800, 3600, 7200, 14400, 86400, 604800)

    counts: list[int] = field(default_factory=lambda: [0] * (len(Durations.BOUNDS) + 1))
    total_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.BOUNDS, seconds)] += 1
        self.total_seconds += seconds


@dataclass(slots=True)
class Counters:
    """Totals since the start of the process."""

    appended_bytes: int = 0
    delivered_bytes: int = 0
    replayed_bytes: int = 0
    input_bytes: int = 0
    input_discarded_bytes: int = 0
    output_messages: int = 0
    inputs_repeated: int = 0
    flow_pauses: int = 0
    pty_pauses: int = 0
    attaches: int = 0
    reconnections: int = 0
    sessions_created: int = 0
    pty_spawns: Counter[str] = field(default_factory=Counter)
    pty_failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    session_seconds: Durations = field(default_factory=Durations)
    backend_checks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By backend and what was found."""
    backend_failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Sessions that a backend could not open, by backend and kind of error."""
    sessions_ended: Counter[str] = field(default_factory=Counter)
    gaps: Counter[str] = field(default_factory=Counter)
    gap_bytes: Counter[str] = field(default_factory=Counter)
    requests_forwarded: Counter[str] = field(default_factory=Counter)
    """To other nodes, by what came of it."""
    messages_sent: Counter[str] = field(default_factory=Counter)
    messages_received: Counter[str] = field(default_factory=Counter)
