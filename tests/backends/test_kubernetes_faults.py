"""What happens to sessions in pods when something breaks, and how it is told."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from backends.abilities import Channel, Command
from backends.base import ExitStatus, Lost, Order
from backends.errors import NotSupported, Unreachable
from backends.kubernetes.channels import Pulse
from backends.kubernetes.environment import KubernetesEnvironment
from support.pods import pod_backend
from support.terminals import Terminal, Terminals, opened
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.kube.server import KubeServer


@pytest.fixture
async def terminals(server: KubeServer, tmp_path: Path) -> AsyncIterator[Terminals]:
    async with opened(pod_backend(server, tmp_path)) as terminals:
        yield terminals


def place(terminals: Terminals) -> KubernetesEnvironment:
    assert isinstance(terminals.environment, KubernetesEnvironment)
    return terminals.environment


def pod_of(terminals: Terminals) -> str:
    return place(terminals).processes.target.pod


async def sleeping(terminals: Terminals) -> Terminal:
    terminal = await terminals.sh("echo ready; exec sleep 777")
    await terminal.sink.until(b"ready")
    return terminal


async def is_running(terminals: Terminals) -> bool:
    """Whether a sleep is in the pod."""
    execution = await place(terminals).execute(Command(("sh", "-c", "grep -lx sleep /proc/[0-9]*/comm | wc -l")))
    printed = b"".join([data async for channel, data in execution if channel is Channel.STDOUT])
    await execution.close()
    return int(printed) > 1  # one is the pod's own


async def test_a_cut_stream_is_a_lost_link_and_the_program_is_ended(server: KubeServer, terminals: Terminals) -> None:
    terminal, other = await sleeping(terminals), await terminals.run("true")
    await other.wait()
    server.commands.drop()
    status = await terminal.wait()
    assert (status.code, status.lost) == (None, Lost.LINK)
    assert "cut" in status.message

    async def is_gone() -> bool:
        return not await is_running(terminals)

    await wait_until(is_gone, description="the program that was left is ended")
    again = await terminals.run("sh", "-c", "exit 3")
    assert await again.wait() == ExitStatus(code=3)


async def test_a_stream_that_is_cut_while_a_program_starts_leaves_nothing(
    server: KubeServer, terminals: Terminals
) -> None:
    await wait_until(lambda: not server.commands.streams, description="the streams of the opening are over")
    starting = asyncio.create_task(terminals.sh("exec sleep 777"))
    await wait_until(lambda: server.commands.streams, description="a stream is open")
    server.commands.drop()
    try:
        assert (await (await starting).wait()).lost is Lost.LINK
    except Unreachable as error:
        assert "cut" in str(error)  # noqa: PT017 - either may come first

    async def is_gone() -> bool:
        return not await is_running(terminals)

    await wait_until(is_gone, description="what was begun is ended")


async def test_success_of_a_living_program_is_not_believed(server: KubeServer, terminals: Terminals) -> None:
    terminal = await sleeping(terminals)
    server.commands.restart_containerd()
    status = await terminal.wait()
    assert (status.code, status.lost) == (None, Lost.LINK)
    assert "has not said itself" in status.message


async def test_a_command_is_no_success_either(server: KubeServer, terminals: Terminals) -> None:
    execution = await place(terminals).execute(Command(("sh", "-c", "echo ready; sleep 777")))
    reading = aiter(execution)
    assert await anext(reading) == (Channel.STDOUT, b"ready\n")
    server.commands.restart_containerd()
    with pytest.raises(Unreachable, match="has not said itself"):
        await anext(reading)
    assert (await execution.wait()).lost is Lost.LINK
    await execution.close()


async def test_a_restarted_api_server_is_reached_again(server: KubeServer, terminals: Terminals) -> None:
    terminal = await sleeping(terminals)
    await server.restart()
    assert (await terminal.wait()).lost is Lost.LINK
    again = await terminals.run("sh", "-c", "exit 4")
    assert (await again.wait()).code == 4


async def test_a_half_open_stream_is_noticed(server: KubeServer, tmp_path: Path) -> None:
    pulse = Pulse(ping_seconds=(0.1, 0.2), silence_seconds=0.5)
    async with opened(pod_backend(server, tmp_path, pulse=pulse)) as terminals:
        quiet = await sleeping(terminals)
        await asyncio.sleep(1)  # longer than the silence that is borne: pings are answered
        assert quiet.pty.write(b"x") == 1
        server.commands.freeze()
        status = await quiet.wait(10)
        assert status.lost is Lost.LINK
        assert "nothing is heard" in status.message
        server.commands.thaw()


async def test_an_eviction_is_the_loss_of_the_place(server: KubeServer, terminals: Terminals) -> None:
    terminal = await sleeping(terminals)
    await server.cluster.evict(pod_of(terminals))
    status = await terminal.wait()
    assert (status.code, status.lost) == (None, Lost.PLACE)
    assert "Evicted" in status.message
    assert "low on resource: memory" in status.message


async def test_a_container_killed_for_its_memory_says_so(server: KubeServer, terminals: Terminals) -> None:
    terminal = await sleeping(terminals)
    await server.cluster.kill_for_memory(pod_of(terminals))
    status = await terminal.wait()
    assert status.lost is Lost.PLACE
    assert "more memory than it may" in status.message


async def test_a_deleted_pod_is_the_loss_of_the_place(server: KubeServer, terminals: Terminals) -> None:
    terminal = await sleeping(terminals)
    server.cluster.delete_pod("default", pod_of(terminals), 0)
    status = await terminal.wait()
    assert status.lost is Lost.PLACE
    assert "deleted" in status.message


async def test_a_killed_program_is_not_a_lost_link(terminals: Terminals) -> None:
    terminal = await terminals.sh("kill -KILL $$")
    assert (await terminal.wait()).code == 137
    wrapper = await terminals.sh("kill -KILL $PPID; sleep 777")
    assert (await wrapper.wait()).code == 137


async def test_an_api_server_of_before_does_all_but_end_input(server: KubeServer, tmp_path: Path) -> None:
    server.commands.v4_only = True
    async with opened(pod_backend(server, tmp_path)) as terminals:
        terminal = await terminals.sh("stty size; exit 7", rows=31, cols=77)
        assert await terminal.wait() == ExitStatus(code=7)
        assert b"31 77" in terminal.output
        execution = await place(terminals).execute(Command(("cat",)))
        with pytest.raises(NotSupported, match=r"v4\.channel"):
            await execution.close_input()
        await execution.close()


async def test_other_sessions_are_unharmed(server: KubeServer, terminals: Terminals) -> None:
    backend = terminals.backend
    other = await backend.open(Order("session-2"))
    here, there = await sleeping(terminals), await sleeping(Terminals(backend, other))
    server.cluster.delete_pod("default", pod_of(terminals), 0)
    assert (await here.wait()).lost is Lost.PLACE
    await there.type(b"\x03")
    assert (await there.wait()).code == 130
    await other.close()


async def test_programs_left_by_a_killed_service_are_ended_by_the_next(server: KubeServer, tmp_path: Path) -> None:
    server.cluster.create_pod("default", standing_pod())
    await wait_until(lambda: is_up(server, "standing"), description="the pod runs")
    async with shared(server, tmp_path) as (first, environment):
        others = await (second := pod_backend(server, tmp_path, pod="standing", node_id="node-2")).open(Order("s-9"))
        terminal, kept, foreign = [
            await sleeping(Terminals(first, each)) for each in (environment, await first.open(Order("s-2")), others)
        ]
        next_one = pod_backend(server, tmp_path, pod="standing")
        await next_one.sweep(["session-2", "s-2"])
        assert (await terminal.wait()).code is not None
        for lives in (kept, foreign):
            await lives.type(b"\x03")
            assert (await lives.wait()).code == 130
        await next_one.close()
        await others.close()
        await second.close()


def standing_pod(**fields: Any) -> dict[str, Any]:
    sleep = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 100 & wait; done"]
    container = {"name": "main", "image": "busybox:1", "command": sleep, **fields}
    return {"metadata": {"name": "standing", "labels": {"app": "dev"}}, "spec": {"containers": [container]}}


def is_up(server: KubeServer, name: str) -> bool:
    return bool(server.cluster.store.get("pods", "default", name)["status"]["phase"] == "Running")


@asynccontextmanager
async def shared(server: KubeServer, tmp_path: Path) -> AsyncIterator[tuple[Any, Any]]:
    """Open sessions in a pod that is there."""
    backend = pod_backend(server, tmp_path, pod="standing")
    environment = await backend.open(Order("session-1"))
    try:
        yield backend, environment
    finally:
        await environment.close()
        await backend.close()


async def test_a_session_leaves_nothing_in_a_shared_pod(server: KubeServer, tmp_path: Path) -> None:
    server.cluster.create_pod("default", standing_pod())
    await wait_until(lambda: is_up(server, "standing"), description="the pod runs")
    async with shared(server, tmp_path) as (backend, environment):
        terminal = await Terminals(backend, environment).sh("(trap '' HUP; exec sleep 777) & sleep 1; exit 5")
        assert (await terminal.wait()).code == 5
        await environment.close()
        other = await backend.open(Order("session-2"))
        assert not await is_running(Terminals(backend, other))
        await other.close()
