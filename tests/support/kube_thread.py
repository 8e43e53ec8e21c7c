"""A test cluster in a thread of its own, for many tests, or the real one that KUBECONFIG names."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from support.kube.server import kube_server
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from support.kube.server import KubeServer

_Answer = TypeVar("_Answer")


SHARED = "shared"


def shared_pod() -> dict[str, Any]:
    """Return a pod that tests share which look at nothing but programs in it."""
    sleeping = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"]
    container = {"name": "main", "image": "busybox:1", "command": sleeping}
    spec = {"containers": [container], "securityContext": {"runAsUser": 1000}}
    return {"metadata": {"name": SHARED}, "spec": spec}


def _runs(server: KubeServer) -> bool:
    return bool(server.cluster.store.get("pods", "default", SHARED)["status"]["phase"] == "Running")


class KubeThread:
    """Where tests that do not break it have their pods."""

    def __init__(self, kubeconfig: Path, server: KubeServer | None, loop: asyncio.AbstractEventLoop | None) -> None:
        self.kubeconfig = kubeconfig
        self.server = server
        """None: a real cluster."""
        self._loop = loop

    def do(self, coroutine: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Run something beside the server, and wait."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)


@contextmanager
def kube_thread(directory: Path) -> Iterator[KubeThread]:
    """Run a test cluster, unless there is a real one."""
    if real := os.environ.get("KUBECONFIG"):
        yield KubeThread(Path(real), None, None)
        return
    started: list[KubeThread] = []
    failed: list[BaseException] = []
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        try:
            async with kube_server(directory) as server:
                server.cluster.create_pod("default", shared_pod())
                await wait_until(lambda: _runs(server), description="the shared pod runs")
                started.append(KubeThread(server.kubeconfig(directory / "kubeconfig"), server, loop))
                ready.set()
                await stop.wait()
        except BaseException as error:  # noqa: BLE001 - a skip too
            failed.append(error)
        ready.set()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="test cluster")
    thread.start()
    ready.wait()
    try:
        if failed:
            raise failed[0]
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
    if failed:
        raise failed[0]
