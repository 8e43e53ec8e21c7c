"""Measures what sessions cost Redis and its nodes, from one session to hundreds, and prints what follows from it."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from bench import machine, retention
from bench.cost_report import markdown
from bench.growth import Growth
from bench.nodes import Nodes
from bench.retention import BULK, LINES, Case
from bench.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEGIN, END = "<!-- begin: python -m bench.redis_cost -->", "<!-- end -->"
"""Between these a document has the report."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    cases: Sequence[Case]
    sessions: Sequence[int]
    seconds: float  # of output at each number of sessions
    idle_seconds: float
    settle_seconds: float


FULL = Sizes(
    cases=(Case(64 * 1024, BULK), Case(64 * 1024, LINES), Case(2**20, BULK), Case(2**24, BULK)),
    sessions=(1, 10, 100, 500),
    seconds=4.0,
    idle_seconds=30.0,  # all that is done again and again is done at least once: the slowest heartbeat takes 30 s
    settle_seconds=2.5,
)
QUICK = Sizes(
    cases=(Case(64 * 1024, BULK), Case(64 * 1024, LINES)),
    sessions=(1, 8),
    seconds=0.2,
    idle_seconds=0.5,
    settle_seconds=0.2,
)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.redis_cost", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it works, its figures mean nothing"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write the numbers")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print the report of an earlier run and end")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the report into a document too (docs/scale.md)")
    return parser.parse_args()


async def measure(sizes: Sizes, directory: Path) -> dict[str, Any]:
    """Measure everything, each half on fresh nodes; return it for JSON."""
    with _running(Nodes(directory, "nodes", 2)) as nodes:
        _progress("memory against retention")
        weighed = [asdict(await retention.weigh(nodes, case, directory)) for case in sizes.cases]
        alone = await _grow(nodes, sizes, directory, followed=False)
    with _running(Nodes(directory, "nodes", 2)) as nodes:
        return {"retention": weighed, "alone": alone, "followed": await _grow(nodes, sizes, directory, followed=True)}


async def _grow(nodes: Nodes, sizes: Sizes, directory: Path, *, followed: bool) -> list[dict[str, Any]]:
    """Measure at each number of sessions; idle too, at the fewest and at the most."""
    levels: list[dict[str, Any]] = []
    async with Growth(nodes, directory, followed=followed, settle_seconds=sizes.settle_seconds) as growth:
        for count in sizes.sessions:
            _progress(f"{count} sessions, {'each followed' if followed else 'nobody watching'}")
            level = {"sessions": count, **asdict(await growth.grow(count))}
            if count == sizes.sessions[-1]:
                level["idle"] = asdict(await growth.idle(sizes.idle_seconds))
            elif count == sizes.sessions[0]:
                level["idle"] = asdict(await growth.idle(sizes.idle_seconds / 4))
            printed, spent = await growth.print(sizes.seconds)
            levels.append({**level, "printed_bytes": printed, "printing": asdict(spent)})
        _progress("ending them")
    return levels


@contextmanager
def _running(nodes: Nodes) -> Iterator[Nodes]:
    try:
        nodes.start()
        yield nodes
    finally:
        nodes.stop()


def _progress(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


def _tell(run: dict[str, Any], document: Path | None) -> None:
    """Print the report, and put it where a document has its place."""
    report = markdown(run)
    print(report, end="")
    if document is not None:
        before, begin, rest = document.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise SystemExit(f"{document} has no place for it")
        document.write_text(f"{before}{begin}\n\n{report}\n{end}{after}")


def main() -> int:
    """Measure, report and return the exit status."""
    asked = arguments()
    if asked.markdown:
        _tell(json.loads(asked.markdown.read_text()), asked.into)
        return 0
    run: dict[str, Any] = {
        "version": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "versions": machine.versions(),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        if reason := Nodes(directory, "nodes", 2).missing():
            print(f"Not measured: {reason}")
            return 0
        gc.disable()
        run |= uvloop.run(measure(QUICK if asked.quick else FULL, directory))
    path = asked.json or ROOT / "bench" / "results" / f"redis-cost-{run['started'].replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1))
    _tell(run, asked.into)
    print(f"Numbers: {os.path.relpath(path)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
