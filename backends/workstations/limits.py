"""When Google will stop a workstation by itself, and who is told how long before: pure arithmetic of times.

What counts for `idleTimeout` is documented as "user traffic" (the reference of WorkstationConfig) and "incoming
traffic" (docs.cloud.google.com/workstations/docs/agent-optimized-development), no closer. What is inside an SSH
connection nobody on the way can tell apart, so any bytes sent through the tunnel are taken for traffic, SSH's
keepalives too. Traffic of others (a browser) is not seen here, and a warning of idleness says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backends.base import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backends.workstations.api import Rules

_SAME_SECONDS = 1.0
"""Ends that are no further apart are the same one."""

_MINUTE, _HOUR = 60, 3600


@dataclass
class _End:
    """An end that is coming, and what was said of it."""

    at: float = 0.0
    told: float = float("inf")
    """The shortest time before it at which it was told."""


@dataclass
class Limits:
    """The warnings of one run of a workstation; times are wall-clock seconds."""

    workstation: str
    rules: Rules
    started_at: float | None
    """None: not known, and then there is no warning of the running time's end."""
    warn_before_seconds: Sequence[float]
    _ends: dict[str, _End] = field(default_factory=dict)

    def due(self, now: float, sent_at: float) -> Iterator[Notice]:
        """Yield what is to be said now, for the first and the last time."""
        for limit, at in self._coming(sent_at):
            end = self._ends.setdefault(limit, _End())
            if abs(at - end.at) > _SAME_SECONDS:
                end.at, end.told = at, float("inf")
            passed = [before for before in self.warn_before_seconds if now >= at - before]
            if passed and now < at and min(passed) < end.told:
                end.told = min(passed)
                yield self._warning(limit, at, at - now)

    def next_at(self, now: float, sent_at: float) -> float | None:
        """Return when `due` may have something to say next; None: never."""
        moments = [at - before for _, at in self._coming(sent_at) for before in self.warn_before_seconds]
        return min((moment for moment in moments if moment > now), default=None)

    def reached(self, now: float, sent_at: float) -> str:
        """Return which limit is over, in words; "": none."""
        over = [limit for limit, at in self._coming(sent_at) if now >= at - _SAME_SECONDS]
        return self._words(over[0]) if over else ""

    def _coming(self, sent_at: float) -> Iterator[tuple[str, float]]:
        if self.rules.running_seconds and self.started_at is not None:
            yield "running", self.started_at + self.rules.running_seconds
        if self.rules.idle_seconds:
            yield "idle", sent_at + self.rules.idle_seconds

    def _warning(self, limit: str, at: float, seconds: float) -> Notice:
        unless = "" if limit == "running" else ", unless something is typed or it has traffic from elsewhere"
        message = f"workstation {self.workstation} will be stopped in {span(seconds)}{unless}: {self._words(limit)}"
        fields = {"limit": limit, "seconds": round(seconds), "ends_at": round(at)}
        return Notice("ending_soon", message, fields)

    def _words(self, limit: str) -> str:
        if limit == "running":
            return f"its configuration lets it run for {span(self.rules.running_seconds)} at a time"
        return f"its configuration stops it after {span(self.rules.idle_seconds)} without traffic"


def span(seconds: float) -> str:
    """Say a time as people do: "12 h", "20 min", "90 s"."""
    for unit, name in ((_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit and abs(seconds / unit - round(seconds / unit)) < 1 / unit:
            return f"{round(seconds / unit)} {name}"
    if seconds >= 2 * _MINUTE:
        return f"{round(seconds / _MINUTE)} min"
    return f"{round(seconds)} s"
