"""L5: descriptors, terminals or processes run out: 503 and why, nobody harmed, and over as soon as there are some."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from support.raw import Raw
from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.client import Client

pytestmark = pytest.mark.platform("linux")

PROGRAM = ["cat"]  # one process
MOST = 100
DESCRIPTORS = 72


def limited(*limits: str) -> tuple[str, ...]:
    """Return a prefix that lowers limits for good; skips where there is no prlimit."""
    if shutil.which("prlimit") is None:
        pytest.skip("needs prlimit (util-linux)")
    return ("prlimit", *limits)


async def until_refused(service: Service) -> tuple[list[str], dict[str, Any]]:
    """Create sessions until one is refused; return them and the refusal, which must be as it should."""
    created: list[str] = []
    while len(created) < MOST:
        answer = await service.http.post("/api/v1/sessions", json={"command": PROGRAM})
        if answer.status_code != 201:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["content-type"] == "application/problem+json"
            return created, answer.json()
        created.append(answer.json()["session_id"])
    raise AssertionError(f"{MOST} sessions and no refusal")


async def echoes(client: Client, word: str) -> None:
    """Type a line, and see it again."""
    position = client.position
    client.send_line(word)
    await client.wait_for_output((word.encode() + b"\r\n") * 2, since=position)  # the terminal's, and cat's


async def is_accepted(service: Service) -> bool:
    """Create and delete a session, if that is possible."""
    answer = await service.http.post("/api/v1/sessions", json={"command": PROGRAM})
    if answer.status_code == 503:
        return False
    assert answer.status_code == 201, answer.text
    await service.delete(answer.json()["session_id"])
    return True


async def refuse_and_recover(service: Service) -> dict[str, Any]:
    """Run out by creating sessions; all must work, refusals change nothing, and one less makes room for one."""
    first = (await service.create_session(command=PROGRAM))["session_id"]
    async with service.client(first) as client:
        others, refusal = await until_refused(service)
        assert others, refusal
        for _ in range(5):
            assert not await is_accepted(service)
        await echoes(client, "during")
        async with service.client(others[-1]) as other:
            await echoes(other, "the last one")
        listed = {session["session_id"] for session in (await service.http.get("/api/v1/sessions")).json()}
        assert listed == {first, *others}
        assert (await service.http.get("/health")).status_code == 200
        await service.delete(others.pop())
        # Not at the first try for certain: the service's threads open files for an instant, which may be the last ones.
        await wait_until(lambda: is_accepted(service), description="room for one more", timeout=2)
        for session in others:
            await service.delete(session)
        await echoes(client, "afterwards")
        assert client.attaches == 1
    return refusal


async def test_out_of_descriptors(tmp_path: Path) -> None:
    async with Service(tmp_path, prefix=limited(f"--nofile={DESCRIPTORS}")) as service:
        refusal = await refuse_and_recover(service)
        assert "Too many open files" in refusal["detail"]
        assert refusal["code"] == "unavailable"
        assert "Traceback" not in service.log()


def has_no_descriptor(service: Service) -> bool:
    """Tell whether the service has opened all it may; it may have inherited some above that."""
    held = {int(name) for name in os.listdir(f"/proc/{service.pid}/fd")}  # noqa: PTH208 - names of numbers
    return held >= set(range(DESCRIPTORS))


@contextlib.asynccontextmanager
async def all_connections(service: Service) -> AsyncIterator[None]:
    """Hold every connection that the service has a descriptor for."""
    async with contextlib.AsyncExitStack() as connections:
        for _ in range(2 * DESCRIPTORS):
            await connections.enter_async_context(await Raw.open(service.address[1]))
            # Until it is accepted, or not; and the server closes a connection that is idle for five seconds.
            assert (await service.http.get("/health/live")).status_code == 200
            if has_no_descriptor(service):
                break
        else:
            raise AssertionError("there is always one more")
        yield


async def test_out_of_descriptors_for_connections(tmp_path: Path) -> None:
    async with Service(tmp_path, prefix=limited(f"--nofile={DESCRIPTORS}")) as service:
        session, other = [(await service.create_session(command=PROGRAM))["session_id"] for _ in range(2)]
        async with service.client(session) as client:
            async with all_connections(service):
                async with await Raw.open(service.address[1]) as refused:
                    refused.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    assert await refused.rest() == b""  # turned away, not left waiting
                before = sum(service.psutil.cpu_times()[:2])
                for word in ("one", "two", "three"):
                    await echoes(client, word)
                assert (await service.http.get("/health/live")).status_code == 200  # or it closes this connection too
                await asyncio.sleep(0.5)  # no condition to wait for: what must not happen is work
                assert sum(service.psutil.cpu_times()[:2]) - before < 0.3
                # The connection that was there is still known as its user's: it can look, refuse, and make room.
                answer = await service.http.post("/api/v1/sessions", json={"command": PROGRAM})
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                await service.delete(other)
                assert (await service.info(other))["state"] == "ended"
            await wait_until(lambda: is_accepted(service), description="a new session")
            async with await Raw.open(service.address[1]) as connection:
                connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await connection.rest()).startswith(b"HTTP/1.1 200 ")
        assert "Traceback" not in service.log()


async def test_out_of_terminals(tmp_path: Path) -> None:
    mounts = "mount -t devpts -o newinstance,ptmxmode=666,max=5 devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx"
    own_devices = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    prefix = (*own_devices, "sh", "-c", f'{mounts} && exec "$@"', "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:  # noqa: ASYNC221 - a moment
        pytest.skip("this system does not let a user mount a devpts of its own")
    async with Service(tmp_path, prefix=prefix) as service:
        refusal = await refuse_and_recover(service)
        assert refusal["detail"] == "out of resources: no terminal (PTY) left: No space left on device"
        assert "Traceback" not in service.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that has no other processes")
@pytest.mark.parametrize("most", [12, 15])
async def test_out_of_processes(tmp_path: Path, most: int) -> None:
    # The limit counts the threads of a real user id too, and does not hold for root nor for these capabilities.
    nobody_else = str(100_000 + os.getpid())
    drop = ("setpriv", "--ruid", nobody_else, "--bounding-set", "-sys_resource,-sys_admin")
    async with Service(tmp_path, prefix=(*drop, *limited(f"--nproc={most}"))) as service:
        refusal = await refuse_and_recover(service)
        assert refusal["detail"] == "out of resources: Resource temporarily unavailable"
        assert "Traceback" not in service.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that has no other processes")
async def test_a_service_that_can_have_no_threads_says_so_in_one_line(tmp_path: Path) -> None:
    drop = ("setpriv", "--ruid", str(200_000 + os.getpid()), "--bounding-set", "-sys_resource,-sys_admin")
    service = Service(tmp_path, prefix=(*drop, *limited("--nproc=2")))
    with pytest.raises(AssertionError, match="ended with 2"):
        await service.start()
    assert service.log() == "terminal-service: no threads: can't start new thread\n"
