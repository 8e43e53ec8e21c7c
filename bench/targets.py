"""The promises about speed, and whether a run kept them; pure functions of the numbers measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# contender -> metric -> one number per round
Numbers = dict[str, dict[str, list[float]]]

SUBJECT = "service msgpack"
REDIS, NODES = "service with Redis", "two nodes"
BARE = ("bare tight", "bare uvloop")


@dataclass(frozen=True)
class Target:
    """The subject's median of a metric, over the reference's if there is one, on the right side of a limit.

    With several references the one that makes it hardest counts.
    """

    id: str
    text: str
    metric: str
    at_least: bool
    limit: float
    references: Sequence[str] = ()
    subject: str = SUBJECT

    def value(self, numbers: Numbers) -> float | None:
        """Return the figure; None if a part of it was not measured."""
        own = _median(numbers, self.subject, self.metric)
        others = [_median(numbers, name, self.metric) for name in self.references]
        if own is None or any(other is None for other in others):
            return None
        if not others:
            return own
        # A tiny run can take less than one tick of the CPU clock: nothing can be said of it then.
        ratios = [own / other for other in others if other]
        if not ratios:
            return None
        return min(ratios) if self.at_least else max(ratios)

    def kept(self, numbers: Numbers) -> bool | None:
        """Tell whether it was kept; None if it was not measured."""
        value = self.value(numbers)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


def _at_least(id_: str, text: str, metric: str, limit: float, *references: str, of: str = SUBJECT) -> Target:
    return Target(id_, text, metric, at_least=True, limit=limit, references=references, subject=of)


def _at_most(id_: str, text: str, metric: str, limit: float, *references: str, of: str = SUBJECT) -> Target:
    return Target(id_, text, metric, at_least=False, limit=limit, references=references, subject=of)


TARGETS = (
    _at_least("S1", "bulk output / bare PTY read limit", "bulk_mb_per_second", 0.85, *BARE),
    _at_least("S1", "bulk output / ttyd", "bulk_mb_per_second", 1.2, "ttyd"),
    _at_least("S1", "bulk output / terminado", "bulk_mb_per_second", 1.15, "terminado"),
    _at_most("S2", "server CPU per MB / ttyd", "cpu_seconds_per_mb", 0.55, "ttyd"),
    _at_most("S2", "server CPU per MB / terminado", "cpu_seconds_per_mb", 0.4, "terminado"),
    _at_most("S2", "with Redis: server CPU per MB / ttyd", "cpu_seconds_per_mb", 0.7, "ttyd", of=REDIS),
    _at_most("S3", "echo p50 / ttyd", "echo_p50_us", 1.3, "ttyd"),
    _at_most("S3", "echo p99 / ttyd", "echo_p99_us", 1.3, "ttyd"),
    _at_most("S3", "echo p99 / terminado", "echo_p99_us", 0.55, "terminado"),
    _at_least("S4", "fan-out per server CPU second / terminado", "fan_out_mb_per_cpu_second", 3.0, "terminado"),
    _at_most("S5", "resume: connect to first byte, ms", "resume_first_byte_ms", 5.0),
    _at_least("S5", "resume: 8 MiB backlog, MB/s", "resume_mb_per_second", 300.0),
    _at_most("S6", "two nodes: echo p50, µs", "echo_p50_us", 1500.0, of=NODES),
    _at_least("S6", "two nodes: bulk output / one node with Redis", "bulk_mb_per_second", 0.8, REDIS, of=NODES),
    _at_most("S7", "create a session, ms", "create_ms", 15.0),
    _at_most("S7", "service ready, s", "ready_seconds", 1.0),
)


def judge(numbers: Numbers) -> list[dict[str, object]]:
    """Return every target with its figure and whether it was kept (None: not measured)."""
    return [
        {
            "id": target.id,
            "text": target.text,
            "relation": ">=" if target.at_least else "<=",
            "limit": target.limit,
            "value": target.value(numbers),
            "kept": target.kept(numbers),
        }
        for target in TARGETS
    ]


def _median(numbers: Mapping[str, Mapping[str, Sequence[float]]], name: str, metric: str) -> float | None:
    values = numbers.get(name, {}).get(metric)
    return median(values) if values else None
