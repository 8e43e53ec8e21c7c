"""What came of a command."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

END_SECONDS = 60.0


class Ended(NamedTuple):
    """Its exit code and its words."""

    code: int
    out: str
    err: str


async def end_of(process: asyncio.subprocess.Process) -> Ended:
    """Wait until a command ends by itself."""
    async with asyncio.timeout(END_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
