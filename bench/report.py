"""Turns the numbers of a run into markdown tables that read well in a terminal and in docs/performance.md."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.targets import Numbers


@dataclass(frozen=True)
class Column:
    """A metric, its heading with the unit, and how to show a number of it."""

    metric: str
    heading: str
    scale: float = 1.0
    digits: int = 0

    def cell(self, values: Sequence[float]) -> str:
        """Show the median, and the range where there is more than one value."""
        if not values:
            return "-"
        shown = [f"{value * self.scale:.{self.digits}f}" for value in (median(values), min(values), max(values))]
        return f"{shown[0]} ({shown[1]} to {shown[2]})" if len(values) > 1 else shown[0]


TABLES: dict[str, Sequence[Column]] = {
    "Bulk output, one viewer": (
        Column("bulk_mb_per_second", "MB/s", digits=1),
        Column("cpu_seconds_per_mb", "server CPU ms/MB", scale=1000, digits=2),
        Column("redis_cpu_seconds_per_mb", "Redis CPU ms/MB", scale=1000, digits=2),
        Column("stored_mb_per_second", "MB/s until in Redis", digits=1),
        Column("frames", "frames"),
    ),
    "Echo of a keystroke": (Column("echo_p50_us", "p50 µs"), Column("echo_p99_us", "p99 µs")),
    "Memory": (
        Column("rss_bytes", "server MiB", scale=2**-20, digits=1),
        Column("rss_bytes_per_session", "KiB per idle session", scale=2**-10, digits=1),
        Column("anonymous_bytes_per_session", "of it anonymous", scale=2**-10, digits=1),
    ),
    "Fan-out": (Column("fan_out_mb_per_cpu_second", "delivered MB per server CPU second"),),
    "This service": (
        Column("resume_first_byte_ms", "resume: connect to first byte ms", digits=2),
        Column("resume_mb_per_second", "resume: MB/s"),
        Column("create_ms", "create ms", digits=1),
        Column("ready_seconds", "ready s", digits=2),
    ),
}


def markdown(run: dict[str, Any]) -> str:
    """Return the whole report as markdown tables; readable as it is in a terminal too."""
    numbers: Numbers = run["numbers"]
    parts = [tell_origin(run), "Median of the rounds, range in brackets."]
    for title, all_columns in TABLES.items():
        columns = [column for column in all_columns if any(column.metric in metrics for metrics in numbers.values())]
        rows = [
            [name, *(column.cell(metrics.get(column.metric, [])) for column in columns)]
            for name, metrics in numbers.items()
            if any(column.metric in metrics for column in columns)
        ]
        if rows:
            parts.append(table([title, *(column.heading for column in columns)], rows))
    parts.append(table(["Target", "", "wanted", "measured", ""], [_verdict(target) for target in run["targets"]]))
    parts.extend(f"Not measured: {name}: {reason}" for name, reason in run["skipped"].items())
    parts.extend(f"FAILED: {name}: {reason}" for name, reason in run["failed"].items())
    return "\n\n".join(parts) + "\n"


def tell_origin(run: dict[str, Any]) -> str:
    """Return on what, with what and when a run was made."""
    machine, versions = run["machine"], run["versions"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['kernel']}, {machine['python']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Run of {run['started']}, load before {machine['load_before'][0]}."
    )


def _verdict(target: dict[str, Any]) -> list[str]:
    wanted = f"{target['relation']} {target['limit']:g}".replace(">=", "≥").replace("<=", "≤")
    value = "-" if target["value"] is None else f"{target['value']:.2f}"
    verdict = {True: "pass", False: "FAIL", None: "not measured"}[target["kept"]]
    return [target["id"], target["text"], wanted, value, verdict]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table whose columns are in line."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    first, *rest = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "| " + " | ".join("-" * max(width, 3) for width in widths) + " |"
    return "\n".join([first, rule, *rest])
