"""The tests' API server of Kubernetes, in a process of its own: `python -m bench.kube_server DIRECTORY`.

Writes `kubeconfig` and then `ready` into the directory, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from bench.servers import ROOT

sys.path.append(str(ROOT / "tests"))


async def serve(directory: Path) -> None:
    """Serve until the input ends."""
    from support.kube.server import kube_server

    async with kube_server(directory / "cluster") as server:
        server.kubeconfig(directory / "kubeconfig")
        (directory / "ready").touch()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    (Path(sys.argv[1]) / "cluster").mkdir()
    uvloop.run(serve(Path(sys.argv[1])))
