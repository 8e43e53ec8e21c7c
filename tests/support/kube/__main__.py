"""Run a test API server by itself, for trials by hand and for benchmarks, until its standard input ends.

    python -m support.kube DIRECTORY    (as root, in tests/)

It prints the path of a kubeconfig with all rights when it is ready.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from support.kube.server import kube_server


async def main(directory: Path) -> None:
    async with kube_server(directory) as server:
        config = server.kubeconfig(directory / "kubeconfig")
        sys.stdout.write(f"{config}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    uvloop.run(main(place))
