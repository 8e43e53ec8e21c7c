"""Turns what `bench.redis_cost` measured into the tables of docs/scale.md, and does its arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.report import table, tell_origin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KIB, MIB, GIB = 2.0**10, 2.0**20, 2.0**30
MEGA = 1e6
BUSY = 0.6
"""How much of a core is planned with: what is left is for bursts, failovers and the kernel."""
NIC_BYTES_PER_SECOND = 1.25e9 * 0.7
"""10 Gbit/s, filled to 70 %."""
SHARD_BYTES = 16 * GIB
RETENTIONS = (2**20, 2**24)

Level = dict[str, Any]


def markdown(run: dict[str, Any]) -> str:
    """Return the whole report."""
    parts = [
        tell_origin(run),
        _retention(run["retention"]),
        _printing("Nobody watching", run["alone"]),
        _printing("Each followed at another node", run["followed"]),
        _idle(run),
        _plan(run),
    ]
    return "\n\n".join(parts) + "\n"


def _retention(weighed: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            f"{each['retention_bytes'] / KIB:.0f} KiB, {each['manner']}",
            f"{each['output_bytes'] / KIB:.0f}",
            f"{each['output_bytes'] / max(each['entries'], 1):.0f}",
            f"{each['memory_bytes'] / KIB:.0f}",
            f"{each['used_bytes'] / KIB:.0f}",
            f"{each['memory_bytes'] / max(each['output_bytes'], 1):.2f}",
        ]
        for each in weighed
    ]
    headings = ["Retention", "output kept, KiB", "bytes an entry", "MEMORY USAGE, KiB", "used_memory, KiB", "per byte"]
    return table(headings, rows)


def _printing(title: str, levels: Sequence[Level]) -> str:
    rows = []
    for level in levels:
        spent, mega = level["printing"], level["printed_bytes"] / MEGA
        rows.append(
            [
                str(level["sessions"]),
                f"{mega / spent['seconds']:.2f}",
                *(f"{spent[part] * 1e3 / mega:.0f}" for part in ("owner_cpu", "redis_cpu", "follower_cpu")),
                f"{spent['commands'] / mega:.0f}",
                *(f"{spent[way] / level['printed_bytes']:.2f}" for way in ("redis_in", "redis_out")),
                str(level["connections"]),
            ]
        )
    headings = [
        *(title, "MB/s in all", "owner ms/MB", "Redis ms/MB", "other node ms/MB"),
        *("commands/MB", "into Redis, per byte", "out of it", "connections"),
    ]
    return table(headings, rows)


def _idle(run: Mapping[str, Any]) -> str:
    rows = []
    for name, title in (("alone", "nobody watching"), ("followed", "each followed")):
        idle = [level for level in run[name] if "idle" in level]
        rows += [[f"{level['sessions']}, {title}", *_rates(level)] for level in idle]
        if len(idle) == 2:
            more = idle[1]["sessions"] - idle[0]["sessions"]
            each = [
                f"{max(_rate(idle[1], part) - _rate(idle[0], part), 0.0) * factor / more:.3g}"
                for part, factor in (("owner_cpu", 1e6), ("redis_cpu", 1e6), ("follower_cpu", 1e6), ("commands", 1))
            ]
            rows.append([f"one more, {title}", *(f"{value} µs/s" for value in each[:3]), each[3]])
    return table(["Idle sessions", "owner", "Redis", "other node", "commands/s"], rows)


def _rate(level: Level, part: str) -> float:
    return float(level["idle"][part]) / float(level["idle"]["seconds"])


def _rates(level: Level) -> list[str]:
    parts = ("owner_cpu", "redis_cpu", "follower_cpu")
    return [*(f"{_rate(level, part) * 1e3:.1f} ms/s" for part in parts), f"{_rate(level, 'commands'):.0f}"]


def _plan(run: Mapping[str, Any]) -> str:
    """Say what one of each carries, by the figures at the most sessions."""
    alone, followed = run["alone"][-1], run["followed"][-1]
    rows = []
    for title, level, part in (
        ("owner's core, nobody elsewhere watching", alone, "owner_cpu"),
        ("owner's core, followed by one node", followed, "owner_cpu"),
        ("following node's core, one viewer each", followed, "follower_cpu"),
        ("Redis shard, not followed", alone, "redis_cpu"),
        ("Redis shard, followed by one node", followed, "redis_cpu"),
    ):
        cost = level["printing"][part] * 1e3 / (level["printed_bytes"] / MEGA)
        carried = f"{BUSY * 1e3 / cost:.1f} MB/s" if cost else "-"
        rows.append([title, f"{BUSY:g} * 1000 ms/s / {cost:.0f} ms/MB", carried])
    for title, way in (("into Redis", "redis_in"), ("out of Redis, one following node", "redis_out")):
        ratio = followed["printing"][way] / followed["printed_bytes"]
        sum_ = f"0.7 * 1250 MB/s / {ratio:.2f}"
        rows.append([f"10 Gbit/s {title}", sum_, f"{NIC_BYTES_PER_SECOND / MEGA / max(ratio, 0.01):.0f} MB/s"])
    return table(["One", "arithmetic", "carries"], [*rows, *_memory_rows(run)])


def _memory_rows(run: Mapping[str, Any]) -> list[list[str]]:
    """Say how many sessions fill 16 GiB, a quarter of it left free."""
    last = run["alone"][-1]
    idle, keys = last["redis_bytes"] / last["made"], last["keys"] / last["made"]
    sum_ = f"used_memory, {last['made']} more sessions; {keys:.1f} keys each"
    rows = [["idle session in Redis", sum_, f"{idle / KIB:.1f} KiB"]]
    for weighed in run["retention"]:
        if weighed["retention_bytes"] in RETENTIONS:
            each = idle + weighed["used_bytes"]
            sum_ = f"0.75 * 16 GiB / {each / MIB:.2f} MiB"
            title = f"16 GiB shard, {weighed['retention_bytes'] / MIB:.0f} MiB kept and full"
            rows.append([title, sum_, f"{0.75 * SHARD_BYTES / each:.0f} sessions"])
    return rows
