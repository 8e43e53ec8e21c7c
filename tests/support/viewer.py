"""A viewer in a process of its own: `python -m support.viewer BASE_URL SESSION_ID`; says `attached`, then reads."""

from __future__ import annotations

import asyncio
import sys

from support.client import Client


async def main(base_url: str, session_id: str) -> None:
    """Watch until killed, keeping nothing."""
    async with Client(base_url, session_id, recover_from=None, keep=False, silence_seconds=3600) as client:
        sys.stdout.write("attached\n")
        sys.stdout.flush()
        await client.wait_over(seconds=24 * 3600)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
