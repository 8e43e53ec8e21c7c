"""What a session's output takes of Redis' memory, against what is kept of it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import client
from bench.text import READY, write_text
from bench.wires import RawWire

if TYPE_CHECKING:
    from pathlib import Path

    from bench.nodes import Nodes

BULK, LINES = "bulk", "lines"
LINE_SECONDS = 0.002
_LINE = "%08d what a program says of each thing it has done, more or less\n"
_LINE_BYTES = len(_LINE % 0) + 1  # a terminal makes CR LF of LF
_PROGRAM = """import sys, time
for number in range({count}):
    sys.stdout.write({line!r} % number)
    sys.stdout.flush()
    time.sleep({pause})
"""


@dataclass(frozen=True)
class Case:
    """A session that keeps so much, and how it is filled: `cat` of a file, or a line at a time."""

    retention_bytes: int
    manner: str


@dataclass(frozen=True)
class Weighed:
    """What Redis had of it: output, entries, and memory by MEMORY USAGE of its keys and by its own account."""

    retention_bytes: int
    manner: str
    output_bytes: int
    entries: int
    memory_bytes: int
    used_bytes: int


async def weigh(nodes: Nodes, case: Case, directory: Path) -> Weighed:
    """Fill a session beyond what it keeps, and weigh it."""
    session = str(nodes.owner.create(retention_bytes=case.retention_bytes)["session_id"])
    # Redis trims whole blocks of entries (XTRIM ~): of 63 KiB each, or of a line each.
    wanted = case.retention_bytes * 5 // 4 + (32 * 1024 if case.manner == BULK else 0)
    async with client.terminal(nodes.owner.address(session), RawWire()) as viewer:
        await asyncio.sleep(0.3)
        before = int((await nodes.redis.info())["used_memory"])
        if case.manner == BULK:
            text = write_text(directory / f"retention-{wanted}.txt", wanted)
            viewer.type(text.command)
            await viewer.collect(text)
            printed = text.terminal_bytes
        else:
            count = wanted // _LINE_BYTES
            program = directory / "lines.py"
            program.write_text(_PROGRAM.format(line=_LINE, count=count, pause=LINE_SECONDS))
            viewer.type(f"{sys.executable} {program}\n".encode())
            await viewer.expect(b"%08d" % (count - 1))
            printed = count * _LINE_BYTES
        await nodes.redis.settle(session, len(READY) + printed)
        await asyncio.sleep(0.3)
        used = int((await nodes.redis.info())["used_memory"]) - before
        kept = await nodes.redis.kept(session)
    nodes.owner.delete(session)
    return Weighed(case.retention_bytes, case.manner, kept.output_bytes, kept.entries, kept.memory_bytes, used)
