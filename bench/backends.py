"""Measures the backends beside the plain tools: `ssh`, `docker exec`, `podman exec`, `kubectl exec`.

In each place three ways lead to the same program: the tool, the backend (from its PTY to its sink), and the whole
service over its WebSocket. They take turns within each round.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
import yaml

from backends.errors import BackendError
from bench import machine
from bench.client import BenchError
from bench.grounds import GROUNDS, Ground, Ssh
from bench.lines import BackendLine, Echo, Line, ServiceLine, ToolLine, ready
from bench.report import table, tell_origin
from bench.servers import ROOT, Service
from bench.text import Text
from bench.workloads import press_in_turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from bench.targets import Numbers

WAYS = ("tool", "backend", "service")
_LINE = "\\033[32mINFO\\033[0m {} worker GET /api/v1/items 200 in 12.50 ms, and nothing else is said of it\\n"


@dataclass(frozen=True)
class Sizes:
    """How much of each."""

    rounds: int
    bulk_lines: int
    keys: int
    sessions: int
    session_lines: int
    session_keys: int


FULL = Sizes(rounds=5, bulk_lines=400_000, keys=500, sessions=50, session_lines=8_000, session_keys=20)
QUICK = Sizes(rounds=1, bulk_lines=5_000, keys=20, sessions=4, session_lines=500, session_keys=5)


def numbered_text(lines: int) -> Text:
    """Return a text that every place can make by itself, with its digest."""
    pattern = _LINE.encode().decode("unicode_escape").replace("\n", "\r\n")
    data = b"".join(pattern.format(f"{number:08d}").encode() for number in range(lines))
    path = Path(f"/tmp/terminal-bench-{os.getpid()}-{lines}.txt")
    return Text(path, len(data), hashlib.sha256(data).hexdigest())


async def make_text(line: Line, text: Text, lines: int) -> None:
    """Have the place write the text, if it has not yet."""
    script = f"""'BEGIN{{for(i=0;i<{lines};i++)printf "{_LINE.format("%08d")}",i}}'"""
    line.type(f"[ -s {text.path} ] || awk {script} >{text.path}; printf made-%s it\n".encode())
    await line.expect(b"made-it")
    line.clear()


class Bench:
    """One run; afterwards `numbers`, `skipped` and `failed` say what came of it."""

    def __init__(self, sizes: Sizes, directory: Path) -> None:
        self.numbers: Numbers = {}
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, str] = {}
        self._sizes = sizes
        self._directory = directory
        self._text = numbered_text(sizes.bulk_lines)

    async def run(self, name: str, ways: Sequence[str]) -> None:
        """Measure in one place; what fails is noted."""
        ground = GROUNDS[name](self._directory)
        try:
            await self._run(ground, ways)
        except pytest.skip.Exception as reason:
            self.skipped[name] = str(reason)
        except (BenchError, BackendError, OSError, subprocess.SubprocessError) as error:
            self.failed[name] = f"{type(error).__name__}: {error}"
        finally:
            await asyncio.to_thread(ground.stop)
            self._text.path.unlink(missing_ok=True)

    async def _run(self, ground: Ground, ways: Sequence[str]) -> None:
        _progress(ground.name)
        await asyncio.to_thread(ground.start)
        await ground.open()
        try:
            service = await asyncio.to_thread(self._serve, ground) if "service" in ways else None
            try:
                openers = _openers(ground, service)
                await self._measure(ground.name, {way: openers[way] for way in ways})
            finally:
                if service is not None:
                    await asyncio.to_thread(service.stop)
            if isinstance(ground, Ssh):
                await self._many(ground, [way for way in ways if way != "service"])
        finally:
            await ground.close()

    def _serve(self, ground: Ground) -> Service:
        file = ground.directory / "backends.yaml"
        file.write_text(yaml.safe_dump({"backends": {ground.name: ground.table()}}))
        service = Service(ground.directory, settings={"BACKENDS_FILE": str(file)})
        service.start()
        return service

    async def _measure(self, name: str, openers: dict[str, Callable[[], Awaitable[Line]]]) -> None:
        for number in range(self._sizes.rounds):
            _progress(f"  round {number + 1} of {self._sizes.rounds}")
            for way, opener in openers.items():
                async with _opened(opener) as line:
                    await make_text(line, self._text, self._sizes.bulk_lines)
                    self._add(f"{name} {way}", "bulk_mb_per_second", await _print(line, self._text))
            async with _all_opened(list(openers.values())) as lines:
                for way, seconds in zip(openers, await _echo(lines, self._sizes.keys, number), strict=True):
                    self._add_echo(f"{name} {way}", seconds)

    async def _many(self, ground: Ssh, ways: Sequence[str]) -> None:
        """Open many sessions over one connection at once, have all print, press keys at all."""
        text = numbered_text(self._sizes.session_lines)
        first = await ready(ToolLine(*ground.shared_tool_line()))  # it makes the connection that the others share
        openers = {
            "tool": lambda _: _now(ToolLine(*ground.shared_tool_line())),
            "backend": lambda number: BackendLine.open(ground.environment, number),
        }
        try:
            await make_text(first, text, self._sizes.session_lines)
            for number in range(self._sizes.rounds):
                _progress(f"  {self._sizes.sessions} sessions, round {number + 1} of {self._sizes.rounds}")
                for way in ways:
                    opener = openers[way]
                    await self._many_once(f"ssh {self._sizes.sessions} {way}", opener, text, number)
        finally:
            await first.close()
            text.path.unlink(missing_ok=True)

    async def _many_once(self, name: str, opener: Callable[[int], Awaitable[Line]], text: Text, seed: int) -> None:
        count = self._sizes.sessions
        begun = perf_counter()
        lines = await asyncio.gather(*(_ready(opener(number)) for number in range(count)))
        self._add(name, "open_seconds", perf_counter() - begun)
        try:
            begun = perf_counter()
            for line in lines:
                line.type(text.command)
            ended = max(await asyncio.gather(*(line.collect(text) for line in lines)))
            self._add(name, "bulk_mb_per_second", count * text.terminal_bytes / 1e6 / (ended - begun))
            answers = await _echo(lines, self._sizes.session_keys, seed)
            self._add_echo(name, [second for seconds in answers for second in seconds])
        finally:
            await asyncio.gather(*(line.close() for line in lines))

    def _add(self, name: str, metric: str, value: float) -> None:
        self.numbers.setdefault(name, {}).setdefault(metric, []).append(value)

    def _add_echo(self, name: str, seconds: list[float]) -> None:
        ordered = sorted(seconds)
        self._add(name, "echo_p50_us", ordered[len(ordered) // 2] * 1e6)
        self._add(name, "echo_p99_us", ordered[len(ordered) * 99 // 100] * 1e6)


def _openers(ground: Ground, service: Service | None) -> dict[str, Callable[[], Awaitable[Line]]]:
    async def of_service() -> Line:
        if service is None:
            raise AssertionError("the service was not started")
        url = await asyncio.to_thread(lambda: service.open(backend=ground.name))
        return await ServiceLine.open(service, url)

    return {
        "tool": lambda: _now(ToolLine(*ground.tool_line())),
        "backend": lambda: BackendLine.open(ground.environment),
        "service": of_service,
    }


async def _now(line: Line) -> Line:
    return line


async def _ready(opening: Awaitable[Line]) -> Line:
    return await ready(await opening)


@asynccontextmanager
async def _opened(opener: Callable[[], Awaitable[Line]]) -> AsyncIterator[Line]:
    line = await _ready(opener())
    try:
        yield line
    finally:
        await line.close()


@asynccontextmanager
async def _all_opened(openers: Sequence[Callable[[], Awaitable[Line]]]) -> AsyncIterator[list[Line]]:
    lines: list[Line] = []
    try:
        for opener in openers:
            lines.append(await _ready(opener()))  # noqa: PERF401 - those before a failure are closed
        yield lines
    finally:
        for line in lines:
            await line.close()


async def _print(line: Line, text: Text) -> float:
    """Return MB/s, from the typed line to the last byte."""
    begun = perf_counter()
    line.type(text.command)
    ended = await line.collect(text)
    return text.terminal_bytes / 1e6 / (ended - begun)


async def _echo(lines: Sequence[Line], keys: int, seed: int) -> list[list[float]]:
    """Press a key every 2 ms at the next line in random order; return seconds per line (as `workloads.echo_once`)."""
    echoes = [Echo(line) for line in lines]
    for echo in echoes:
        await echo.begin()
    await press_in_turn(echoes, keys, seed)
    return [echo.seconds for echo in echoes]


def markdown(run: dict[str, Any]) -> str:
    """Return the report."""
    numbers: Numbers = run["numbers"]
    rows = [_row(name, metrics, numbers) for name, metrics in numbers.items()]
    headings = ["Way to a terminal", "MB/s", "of the tool's", "echo p50 µs", "more than the tool's", "p99 µs", "open s"]
    parts = [tell_origin(run), "Median of the rounds, range in brackets.", table(headings, rows)]
    parts += [f"Not measured: {name}: {reason}" for name, reason in run["skipped"].items()]
    parts += [f"FAILED: {name}: {reason}" for name, reason in run["failed"].items()]
    return "\n\n".join(parts) + "\n"


def _row(name: str, metrics: dict[str, list[float]], numbers: Numbers) -> list[str]:
    place, _, way = name.rpartition(" ")
    tool = numbers.get(f"{place} tool", {}) if way != "tool" else {}
    bulk, echo = metrics.get("bulk_mb_per_second", []), metrics.get("echo_p50_us", [])
    ratio = difference = "-"
    if bulk and tool.get("bulk_mb_per_second"):
        ratio = f"{median(bulk) / median(tool['bulk_mb_per_second']):.2f}"
    if echo and tool.get("echo_p50_us"):
        difference = f"{median(echo) - median(tool['echo_p50_us']):+.0f}"
    rest = _cell(metrics.get("echo_p99_us", []), 0), _cell(metrics.get("open_seconds", []), 2)
    return [name, _cell(bulk, 1), ratio, _cell(echo, 0), difference, *rest]


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _progress(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.backends", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it works, figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=list(GROUNDS), default=list(GROUNDS), help="places")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="ways that lead there")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"rounds, {FULL.rounds} by default")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write the numbers")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="print the report of an earlier run and end")
    return parser.parse_args()


async def _run(bench: Bench, asked: argparse.Namespace) -> None:
    for name in asked.only:
        await bench.run(name, asked.ways)


def main() -> int:
    """Measure, report and return the exit status."""
    asked = arguments()
    if asked.markdown:
        print(markdown(json.loads(asked.markdown.read_text())), end="")
        return 0
    sizes = QUICK if asked.quick else FULL
    sizes = Sizes(**{**asdict(sizes), **({"rounds": asked.rounds} if asked.rounds else {})})
    run: dict[str, Any] = {
        "version": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "versions": machine.versions(),
        "sizes": asdict(sizes),
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        bench = Bench(sizes, Path(directory))
        gc.disable()  # a collection here would be measured as a backend's latency
        uvloop.run(_run(bench, asked))
    run |= {"numbers": bench.numbers, "skipped": bench.skipped, "failed": bench.failed}
    path = asked.json or ROOT / "bench" / "results" / f"backends-{run['started'].replace(':', '')}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run, indent=1))
    print(markdown(run), end="")
    print(f"Numbers: {os.path.relpath(path)}", file=sys.stderr)
    return 1 if run["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
