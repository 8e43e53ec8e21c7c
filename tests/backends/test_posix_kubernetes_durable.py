"""Durable sessions in pods: the API server cuts streams, restarts, and the programs go on with nothing lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from backends.base import ExitStatus, Lost, Order, Program
from backends.errors import AccessRefused, NotProvided
from support.kube.images import base_python
from support.pods import pod_backend, template
from support.sink import CollectingSink
from support.terminals import Terminal
from support.told_session import ToldSession
from support.wait import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from backends.kubernetes.backend import KubernetesBackend
    from support.kube.server import KubeServer


def make_backend(server: KubeServer, directory: Path, **fields: Any) -> KubernetesBackend:
    fields = {"durable": True, "durable_python": base_python(), **fields}
    if "pod" not in fields:
        fields.setdefault("template", template("python:1"))
    return pod_backend(server, directory, **fields)


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(first, last + 1))


async def test_streams_that_are_cut_are_had_again_and_nothing_is_lost(server: KubeServer, tmp_path: Path) -> None:
    backend = make_backend(server, tmp_path)
    session = await ToldSession.start(backend, "stty -opost -echo; echo ready; read line; seq 1 300000; exit 7")
    await session.terminal.sink.until(b"ready\n")
    for count in (1, 2):
        server.cut_all()
        if count == 1:
            await session.terminal.type(b"\n")
        await wait_until(lambda count=count: session.told.count("link_back") >= count, description="it is back")  # type: ignore[misc]
    assert await session.terminal.wait() == ExitStatus(code=7)
    assert session.terminal.output == b"ready\n" + numbered(1, 300000)
    await session.environment.close()
    await backend.close()
    pods = server.cluster.store
    await wait_until(lambda: not pods.list("pods", lambda _: True), description="the pod goes with the session")


async def test_a_restarted_api_server_is_waited_for(server: KubeServer, tmp_path: Path) -> None:
    backend = make_backend(server, tmp_path)
    session = await ToldSession.start(backend, "echo ready; read line; echo got $line; exit 3")
    await session.terminal.sink.until(b"ready")
    await server.stop_listening()
    server.cut_all()
    await wait_until(lambda: "link_lost" in session.told, description="the cut is told")
    await server.listen()
    await session.terminal.type(b"hello\n")
    assert await session.terminal.wait() == ExitStatus(code=3)
    assert b"got hello" in session.terminal.output
    await session.environment.close()
    await backend.close()


async def test_a_deleted_pod_is_a_lost_place_with_the_reason(server: KubeServer, tmp_path: Path) -> None:
    backend = make_backend(server, tmp_path)
    session = await ToldSession.start(backend, "echo ready; exec sleep 1000")
    await session.terminal.sink.until(b"ready")
    (pod,) = server.cluster.store.list("pods", lambda _: True)
    server.cluster.delete_pod("default", pod["metadata"]["name"], 0)
    status = await session.terminal.wait()
    assert (status.code, status.signal, status.lost) == (None, None, Lost.PLACE)
    assert str(pod["metadata"]["name"]) in status.message, "deleted, or its main process has ended just before"
    await session.environment.close()
    await backend.close()


async def test_the_next_process_of_the_service_goes_on(server: KubeServer, tmp_path: Path) -> None:
    first = make_backend(server, tmp_path)
    before = await ToldSession.start(first, "stty -opost -echo; seq 1 3000; read line; seq 3001 6000; exit 4")
    await before.terminal.sink.until(b"\n3000\n")
    server.cut_all()
    await first.close()
    second = make_backend(server, tmp_path)
    await second.sweep(["session-1"])
    survivor = await second.recall("session-1")
    assert survivor is not None
    sink = CollectingSink()
    environment = await second.open(Order("session-1"))
    terminal = Terminal(await environment.adopt(survivor, sink, len(before.terminal.output)), sink)
    await terminal.type(b"\n")
    assert await terminal.wait() == ExitStatus(code=4)
    assert before.terminal.output + terminal.output == numbered(1, 6000)
    await environment.close()
    await second.close()


async def test_sessions_in_one_pod_share_a_holder_and_a_sweep_spares_it(server: KubeServer, tmp_path: Path) -> None:
    await server.run_pod("dev", image="python:1")
    backend = make_backend(server, tmp_path, pod="dev")
    one = await ToldSession.start(backend, "echo ready; read line; exit 3", "session-1")
    other = await ToldSession.start(backend, "echo ready; exec sleep 1000", "session-2")
    for session in (one, other):
        await session.terminal.sink.until(b"ready")
    await backend.sweep(["session-1", "session-2"])
    assert one.told == other.told == []
    server.cut_all()
    await one.terminal.type(b"\n")
    assert await one.terminal.wait() == ExitStatus(code=3)
    await other.environment.close()
    assert (await other.terminal.wait()).lost is None
    await one.environment.close()
    await backend.close()


async def test_an_image_without_python_is_refused_with_the_reason(server: KubeServer, tmp_path: Path) -> None:
    backend = make_backend(server, tmp_path, template=template("busybox:1"), durable_python="python3")
    environment = await backend.open(Order("session-1"))
    with pytest.raises(NotProvided, match="there is no 'python3'"):
        await environment.spawn(Program("session-1", command=["true"]), CollectingSink())
    await environment.close()
    await backend.close()


async def test_a_pod_that_runs_programs_stays_whatever_fails(server: KubeServer, tmp_path: Path) -> None:
    backend = make_backend(server, tmp_path)
    session = await ToldSession.start(backend, "echo ready; read line; exit 3")
    await session.terminal.sink.until(b"ready")
    server.faults.fail(403, resource="pods/exec")
    with pytest.raises(AccessRefused):
        await backend.open(Order("session-1"))
    await session.terminal.type(b"\n")
    assert await session.terminal.wait() == ExitStatus(code=3)
    await session.environment.close()
    await backend.close()
