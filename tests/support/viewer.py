"""A viewer in a process of its own: `python -m support.viewer BASE_URL SESSION_ID`; says `attached`, then reads."""

from __future__ import annotations

import asyncio
import sys

from support.client import Client


async def main(base_url: str, session_id: str) -> None:
    """Watch until killed, keeping nothing."""
    async with Client(base_url, session_id, recover_from=None, silence_seconds=3600) as client:
        sys.stdout.write("attached\n")
        sys.stdout.flush()
        while True:
            before = client.position
            await client.wait(lambda at=before: client.position > at, "output", seconds=3600)  # type: ignore[misc]
            client.transcript.forget()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
