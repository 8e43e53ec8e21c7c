"""Terminals in pods, where they differ from those on this machine."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from backends.base import ExitStatus, Notice, Order
from backends.errors import InvalidProgram, NotProvided, UserRefused
from support.pods import pod_backend, template
from support.terminals import Terminal, Terminals, opened
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.kube.server import KubeServer
    from support.kube_thread import KubeThread


@pytest.fixture
async def terminals(server: KubeServer, tmp_path: Path) -> AsyncIterator[Terminals]:
    async with opened(pod_backend(server, tmp_path)) as terminals:
        yield terminals


async def stuck(terminals: Terminals, modes: str) -> Terminal:
    """Start a program, and type until no more is taken."""
    terminal = await terminals.sh(f"stty -icanon -echo {modes}; echo ready; sleep 777; echo over")
    await terminal.sink.until(b"ready")

    async def is_full() -> bool:
        await asyncio.sleep(0.2)
        return terminal.pty.write(b"x" * 65536) == 0

    await wait_until(is_full, description="the terminal is full")
    return terminal


async def test_a_shell_is_typed_into_and_resized(terminals: Terminals) -> None:
    shell = await terminals.run(shell="sh", rows=33, cols=99)
    await shell.type(b"stty size\r")
    await shell.sink.until(b"33 99")
    shell.pty.resize(20, 70)
    await shell.type(b"sleep 0.3; stty size; exit 7\r")
    assert await shell.wait() == ExitStatus(code=7)
    assert b"20 70" in shell.output
    assert b"\x02" not in shell.output


async def test_the_interrupt_key_ends_what_is_in_the_foreground(terminals: Terminals) -> None:
    shell = await terminals.run(shell="sh")
    # Said by what is in the foreground: the shell would take a key for its own that comes before its program is there.
    await shell.type(b"sh -c \"echo rea''dy; exec sleep 777\"; echo went on\r")
    await shell.sink.until(b"ready\r\n")
    assert not shell.pty.interrupt(), "typed in its turn"
    await shell.type(b"\x03")
    await shell.sink.until(b"$ ", start=await shell.sink.until(b"^C"))  # typed before, it would be thrown away
    await shell.type(b"echo stat''us $?; exit 4\r")
    await shell.sink.until(b"status 130")
    assert (await shell.wait()).code == 4


async def test_an_interrupt_overtakes_input_that_nobody_reads(terminals: Terminals) -> None:
    terminal = await stuck(terminals, "isig")
    assert terminal.pty.interrupt()
    assert (await terminal.wait()).code == 130


async def test_an_interrupt_of_a_raw_terminal_stays_a_byte(terminals: Terminals) -> None:
    terminal = await stuck(terminals, "-isig")
    assert terminal.pty.interrupt()
    await asyncio.sleep(0.5)
    assert b"over" not in terminal.output
    await terminal.pty.close(0.2)


async def test_signals_reach_the_foreground(terminals: Terminals) -> None:
    terminal = await terminals.sh("trap 'echo caught; exit 5' USR1; echo ready; while :; do sleep 0.1; done")
    await terminal.sink.until(b"ready")
    terminal.pty.signal(signal.SIGUSR1)
    assert (await terminal.wait()).code == 5
    assert b"caught" in terminal.output
    with pytest.raises(ValueError, match="999"):
        (await terminals.run("sleep", "9")).pty.signal(999)


async def test_no_other_user_can_be_asked_for(terminals: Terminals) -> None:
    with pytest.raises(UserRefused, match="as the user that the pod names"):
        await terminals.run("true", user="root")


async def test_the_end_of_a_pod_s_time_is_told_before(server: KubeServer, tmp_path: Path) -> None:
    told: list[Notice] = []
    backend = pod_backend(server, tmp_path, template=template(lifetime_seconds=200))
    environment = await backend.open(Order("session-1", tell=told.append))
    await wait_until(lambda: told[-1].kind == "ending_soon", description="it is told")
    assert told[-1].fields["seconds"] == pytest.approx(200, abs=3)
    await environment.close()
    await backend.close()


async def test_a_pod_that_is_there_cannot_be_another_one(kube: KubeThread, tmp_path: Path) -> None:
    if kube.server is None:
        pytest.skip("makes no pods on a real cluster")
    backend = pod_backend(kube.server, tmp_path, kubeconfig=str(kube.kubeconfig), pod="shared")
    with pytest.raises(InvalidProgram, match="gpus"):
        await backend.open(Order("session-1", gpus=1))
    await backend.close()


async def test_an_image_without_a_shell_is_told(server: KubeServer, tmp_path: Path) -> None:
    remove = ["/bin/busybox", "sh", "-c", "rm /bin/sh; exec sleep 100"]
    container = {"name": "main", "image": "busybox:1", "command": remove}
    server.cluster.create_pod("default", {"metadata": {"name": "bare"}, "spec": {"containers": [container]}})
    backend = pod_backend(server, tmp_path, pod="bare")

    async def says_so() -> bool:
        try:
            await (await backend.open(Order("session-1"))).close()
        except NotProvided as error:
            return "no /bin/sh in the image" in str(error)
        return False

    await wait_until(says_so, description="it is told")
    await backend.close()
