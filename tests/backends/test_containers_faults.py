"""What goes wrong with containers and their daemons: told in words, cleaned up, and never taken for an exit."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from backends.abilities import Command
from backends.base import Lost, Order
from backends.errors import NotProvided, Unreachable
from support.container_daemon import need, running
from support.containers import backend_of, finished, placed
from support.cut_daemon import CutDaemon
from support.dockerd import Dockerd
from support.other_users import ROOT, prefix_of
from support.podman import Podman
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.container_daemon import ContainerDaemon


PASTE_BYTES = 160 * 1024
HALT_SECONDS = 0.03


async def refused(daemon: ContainerDaemon, kind: type[Exception], pattern: str, **fields: Any) -> None:
    """Expect that no container can be opened, and that none is left."""
    backend = backend_of(daemon, **fields)
    with pytest.raises(kind, match=pattern):
        await backend.open(Order("session-1"))
    await backend.close()


async def test_a_missing_image_is_told(daemon: ContainerDaemon) -> None:
    await refused(daemon, NotProvided, r"image 'none:1' is not on unix:", image="none:1")
    fields: dict[str, Any] = {"image": "127.0.0.1:1/none:1", "pull": "missing"}
    await refused(daemon, NotProvided, r"cannot fetch image '127.0.0.1:1/none:1': .*refused", **fields)
    assert daemon.containers() == []


async def test_a_container_that_cannot_be_started_is_told_and_removed(daemon: ContainerDaemon) -> None:
    await refused(daemon, NotProvided, "no-such-program", command=("no-such-program",), init=False)
    await refused(daemon, NotProvided, r"did not stay alive|no shell|is gone|was stopped", command=("true",))
    await refused(daemon, NotProvided, "no-such-network", network="no-such-network")
    assert daemon.containers() == []


async def test_a_cancelled_opening_leaves_nothing(daemon: ContainerDaemon) -> None:
    backend = backend_of(daemon)
    for pause in (0, 0.01, 0.03, 0.06, 0.1, 0.15):
        opening = asyncio.create_task(backend.open(Order("session-1")))
        await asyncio.sleep(pause)
        opening.cancel()
        with suppress(asyncio.CancelledError):
            await (await opening).close()  # it was quicker
        assert daemon.containers() == []
    await backend.close()


async def test_a_socket_that_is_not_there_or_not_for_us_is_told(daemon: ContainerDaemon, tmp_path: Path) -> None:
    await refused(daemon, Unreachable, "does not exist: is the daemon running", socket=f"unix://{tmp_path}/none")
    script = (
        "import asyncio, sys\n"
        "from backends.containers.daemon import Daemon\n"
        "from backends.containers.profile import ContainerProfile\n"
        "profile = ContainerProfile(image='box:1', socket=sys.argv[1])\n"
        "try: asyncio.run(Daemon(profile).check())\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    daemon.directory.chmod(0o711)
    command = [*prefix_of("nobody", tmp_path / "stash"), sys.executable, "-c", script, daemon.url]
    said = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.match("AccessRefused this service's user may not use", said.stdout), said


async def test_a_container_removed_under_us_is_a_lost_place(daemon: ContainerDaemon) -> None:
    async with placed(daemon) as place:
        terminal = await place.run("sh")
        daemon.remove_all()
        status = await terminal.wait()
        assert status.lost is Lost.PLACE, status
        assert re.search("removed|stopped", status.message), status
        with pytest.raises(NotProvided, match="removed"):
            await place.run("sh")


async def test_a_program_beyond_the_memory_is_told_so(daemon: ContainerDaemon) -> None:
    async with placed(daemon, memory_bytes=24 << 20) as place:
        terminal = await place.run("sh", "-c", "exec tail -c 200000000 /dev/zero")
        status = await terminal.wait()
        assert status.lost is Lost.PLACE or status.code == 137, status
        assert "24 MiB" in status.message, status


async def test_orphans_are_removed_and_nothing_else(daemon: ContainerDaemon) -> None:
    script = (
        "import asyncio, os, signal, sys\n"
        "from support.containers import backend_of\n"
        "from support.dockerd import Dockerd\n"
        "from support.podman import Podman\n"
        "from backends.base import Order\n"
        "from pathlib import Path\n"
        "async def run():\n"
        "    daemon = {kind.kind: kind for kind in (Dockerd, Podman)}[sys.argv[1]](Path(sys.argv[2]))\n"
        "    await backend_of(daemon).open(Order('killed'))\n"
        "    await backend_of(daemon, node='node-2').open(Order('other'))\n"
        "    await backend_of(daemon, node='node-2', lifetime_seconds=1).open(Order('old', lifetime_seconds=-58))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(run())\n"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-c", script, daemon.kind, str(daemon.directory)]
    died = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, "PYTHONPATH": path}, check=False, capture_output=True, text=True
    )
    assert died.returncode == -signal.SIGKILL, died
    async with placed(daemon) as place:

        async def swept() -> list[str]:
            await place.backend.sweep(["killed"])
            return [] if "old" in sessions(daemon) else sessions(daemon)

        left = await wait_until(swept, description="what has expired is removed, whoever made it")
        assert left == ["killed", "other", "session-1"]
        await place.backend.sweep([])
        assert sessions(daemon) == ["other", "session-1"]
    daemon.remove_all()


async def test_a_paste_arrives_though_the_daemon_stands_still_now_and_then(daemon: ContainerDaemon) -> None:
    """As on a busy machine. What it is given meanwhile it reads at once, and Podman's conmon cannot take that."""
    paste = b"".join(b"%07d " % number for number in range(PASTE_BYTES // 8))

    async def halt() -> None:
        while True:
            os.kill(daemon.pid, signal.SIGSTOP)
            await asyncio.sleep(HALT_SECONDS)
            os.kill(daemon.pid, signal.SIGCONT)
            await asyncio.sleep(HALT_SECONDS)

    async with placed(daemon) as place:
        terminal = await place.run("sh", "-c", "stty raw -echo; echo ready; exec cat")
        await terminal.sink.until(b"ready")
        before = len(terminal.output)
        halting = asyncio.create_task(halt())
        try:
            await terminal.type(paste)
            await terminal.sink.until_size(before + len(paste))
        finally:
            halting.cancel()
            os.kill(daemon.pid, signal.SIGCONT)
        assert terminal.output[before:] == paste


def sessions(daemon: ContainerDaemon) -> list[str]:
    return sorted(each["Labels"]["terminal-service.session"] for each in daemon.containers())


@pytest.fixture(params=[Dockerd, Podman], ids=["dockerd", "podman"])
def own(request: pytest.FixtureRequest) -> Iterator[ContainerDaemon]:
    """Run a daemon that a test may stop."""
    need("setsid")
    with running(request.param) as daemon:
        yield daemon


async def test_a_daemon_killed_and_started_again_is_never_an_exit(own: ContainerDaemon) -> None:
    async with placed(own) as place:
        terminal = await place.run("sh")
        other = await place.environment.execute(Command(("sleep", "100")))
        await place.backend.check()
        await asyncio.to_thread(own.stop, signal.SIGKILL)
        with pytest.raises(Unreachable, match=r"is the daemon running|cannot be reached"):  # its socket outlives it
            await place.backend.check()
        await asyncio.to_thread(own.start)
        for status in (await terminal.wait(60), (await finished(other))[2]):
            assert status.lost in {Lost.PLACE, Lost.LINK}, status
            assert status.message
        await place.backend.check()


async def test_a_connection_cut_under_a_living_program_is_a_lost_link_and_its_end(daemon: ContainerDaemon) -> None:
    async with CutDaemon(daemon.socket).listening() as way, placed(daemon, socket=way.url) as place:
        terminal = await place.sh("sleep 1234")
        command = await place.environment.execute(Command(("sleep", "2345")))
        assert way.cut()
        for status in await asyncio.gather(terminal.wait(), command.wait()):
            assert (status.lost, "was cut" in status.message) == (Lost.LINK, True), status
        left = await place.output("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert not re.search("sleep (1234|2345)", left), left
