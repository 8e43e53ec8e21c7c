"""Runs every workload on every server there is, prints the report, keeps the numbers."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

from bench import machine
from bench.plan import FULL, QUICK, SERVERS, WORKLOADS, Plan
from bench.report import markdown
from bench.servers import ROOT
from bench.targets import judge


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it works, its figures mean nothing"
    )
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=SERVERS, help="servers to measure")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS, help="what to measure")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds per server, {FULL.rounds} by default")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write the numbers")
    parser.add_argument("--check", action="store_true", help="end with status 1 if a target was missed")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print the report of an earlier run and end")
    return parser.parse_args()


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Run the bench; return everything a report needs."""
    sizes = QUICK if asked.quick else FULL
    run: dict[str, Any] = {
        "version": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "versions": machine.versions(),
        "sizes": sizes.with_rounds(asked.rounds).as_dict(),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        plan = Plan(sizes.with_rounds(asked.rounds), Path(directory), asked.only)
        # A collection in the client would be measured as the server's latency.
        gc.disable()
        uvloop.run(plan.run(asked.workloads))
    return run | {
        "numbers": plan.numbers,
        "targets": judge(plan.numbers),
        "skipped": plan.skipped,
        "failed": plan.failed,
    }


def main() -> int:
    """Measure, report and return the exit status."""
    asked = arguments()
    if asked.markdown:
        print(markdown(json.loads(asked.markdown.read_text())), end="")
        return 0
    run = measure(asked)
    path = asked.json or ROOT / "bench" / "results" / f"{run['started'].replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1))
    print(markdown(run))
    print(f"Numbers: {os.path.relpath(path)}", file=sys.stderr)
    missed = asked.check and any(target["kept"] is False for target in run["targets"])
    return 1 if run["failed"] or missed else 0


if __name__ == "__main__":
    sys.exit(main())
