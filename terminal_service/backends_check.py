"""What `terminal-service backends check` prints: every place to run sessions, what it can, and whether it works."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from backends.errors import BackendError
from terminal_service.choosing import gives_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from terminal_service.places import Place, Places

CHECK_SECONDS = 60.0
_HEADINGS = ("NAME", "KIND", "USERS", "CAN", "GIVES", "CHECK")


@contextlib.contextmanager
def copied_state(state_dir: Path) -> Iterator[Path]:
    """Give a state directory with what backends have recorded (host keys), but nobody's name in it.

    To the places whoever looks is somebody else than the service, whose programs and links are left alone.
    """
    with tempfile.TemporaryDirectory(prefix="terminal-service-") as directory:
        recorded = state_dir / "backends"
        if recorded.is_dir():
            shutil.copytree(recorded, Path(directory, "backends"), ignore=shutil.ignore_patterns("owner*"))
        yield Path(directory)


async def report(places: Places) -> tuple[str, bool]:
    """Look at all places, at the same time; return a table, and whether all are well."""
    found = await asyncio.gather(*(_why_not(place) for place in places))
    rows = [_row(place, reason) for place, reason in zip(places, found, strict=True)]
    return _table([_HEADINGS, *rows]), not any(found)


async def _why_not(place: Place) -> str:
    """Return why sessions cannot be opened at a place; empty: they can."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await place.backend.check()
    except BackendError as error:
        return str(error)
    except TimeoutError:
        return f"no answer within {CHECK_SECONDS:.0f} seconds"
    return ""


def _row(place: Place, reason: str) -> Sequence[str]:
    abilities = [name for name, can in dataclasses.asdict(place.backend.capabilities).items() if can]
    return (
        place.name,
        place.kind,
        ",".join(place.profile.users) or "-",
        ",".join(abilities) or "-",
        ",".join(sorted(gives_of(place))) or "-",
        f"FAILED: {reason}" if reason else "ok",
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
