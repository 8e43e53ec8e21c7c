"""A service whose sessions run on another machine, which a real sshd plays: seen by viewers, cut, killed, taken up."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from support.service import Service
from support.sshd import Sshd, running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux")


def write_profiles(path: Path, server: Sshd) -> None:
    """Have the server twice: as it is, and with programs that outlive the connection."""
    common = (
        f'kind = "ssh"\nhost = "{server.host}"\nport = {server.port}\nuser = "{server.user}"\n'
        f'keys = ["{server.client_key}"]\nknown_hosts = "{server.known_hosts}"\nkeepalive_seconds = 1\n'
    )
    durable = f'durable = true\ndurable_directory = "{server.directory / "durable"}"\n'
    path.write_text(
        f'[backends.build1]\n{common}description = "the build machine"\n\n[backends.build2]\n{common}{durable}'
    )


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[tuple[Sshd, Service]]:
    async with running_sshd(directory / "sshd") as server:
        await asyncio.to_thread(write_profiles, directory / "backends.toml", server)
        async with Service(directory, BACKENDS_FILE=str(directory / "backends.toml")) as service:
            yield server, service


async def test_a_session_runs_there_and_is_lost_with_the_link(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, service):
        made = await service.create_session(backend="build1", shell="bash")
        assert (made["state"], made["backend"], made["backend_reason"]) == ("running", "build1", "asked for by name")
        async with service.client(made["session_id"], reconnect=False) as client:
            client.send_line("echo $SSH_CONNECTION | wc -w; echo $TERMINAL_SESSION_ID")
            await client.wait_for_output(rb"4\r\n" + made["session_id"].encode())
            client.resize(33, 101)
            client.send_line("stty size")
            await client.wait_for_output(rb"33 101")
            for pid in await asyncio.to_thread(server.sessions):
                os.kill(pid, signal.SIGKILL)
            await client.wait_over()
            ended = client.messages[-1]
            assert (ended["type"], ended["reason"], ended["exit_code"]) == ("session_ended", "link_lost", None)
            assert ended["message"]
        shown = await service.info(made["session_id"])
        assert (shown["state"], shown["end_reason"]) == ("lost", "link_lost")
        assert shown["end_message"] == ended["message"]
        assert await service.create_session(backend="build1")
        backends = (await service.http.get("/api/v1/backends")).json()
        assert [each["name"] for each in backends] == ["local", "build1", "build2", "echo"]
        assert "Traceback" not in service.log()


async def test_a_durable_one_goes_on_after_cuts_and_after_the_service_was_killed(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, service):
        made = await service.create_session(backend="build2", command=["cat"])
        async with service.client(made["session_id"]) as client:
            client.send_line("one")
            await client.wait_for_output(rb"one\r\none\r\n")
            for pid in await asyncio.to_thread(server.sessions):
                os.kill(pid, signal.SIGKILL)
            client.send_line("two")
            await client.wait_for_output(rb"two\r\ntwo\r\n")
            checked = await service.start_command("run.py", "backends", "check")
            assert await checked.wait() == 0
            await service.kill()
            await service.start()
        async with service.client(made["session_id"]) as client:
            client.send_line("three")
            await client.wait_for_output(rb"three\r\nthree\r\n")
            assert bytes(client.transcript.data) == b"".join(
                b"%b\r\n%b\r\n" % (word, word) for word in (b"one", b"two", b"three")
            )
        assert (await service.info(made["session_id"]))["state"] == "running"
        await service.delete(made["session_id"])
        assert "Traceback" not in service.log()


async def test_a_host_that_is_not_there_keeps_nothing_from_starting(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, service):
        made = await service.create_session(backend="build2", command=["cat"])
        await service.kill()
        await asyncio.to_thread(server.stop)
        await service.start()
        assert (await service.info(made["session_id"]))["state"] == "running"
        refused = await service.http.post("/api/v1/sessions", json={"backend": "build1"})
        assert (refused.status_code, refused.json()["code"]) == (503, "backend_unreachable")
        async with service.client(made["session_id"]) as client:
            await client.wait(
                lambda: any(each["type"] == "notice" and each["kind"] == "link_lost" for each in client.messages),
                "it is told",
            )
            client.send_line("meanwhile")
            await asyncio.to_thread(server.start)
            await client.wait_for_output(rb"meanwhile\r\nmeanwhile\r\n", seconds=60)
        await service.delete(made["session_id"])
        assert "Traceback" not in service.log()


async def test_the_command_says_which_backends_work(tmp_path: Path) -> None:
    async with running_sshd(tmp_path / "sshd") as server:
        await asyncio.to_thread(write_profiles, tmp_path / "backends.toml", server)
        text = await asyncio.to_thread((tmp_path / "backends.toml").read_text)
        gone = text.replace("build1", "gone").split("\n\n")[0].replace(str(server.port), "1")
        await asyncio.to_thread((tmp_path / "backends.toml").write_text, f"{text}\n{gone}\n")
        service = Service(tmp_path)
        ran = await service.start_command("run.py", "backends", "check", "--file", str(tmp_path / "backends.toml"))
        said, wrong = await ran.communicate()
        lines = [line.split(None, 5) for line in said.decode().splitlines()]
        assert [line[0] for line in lines] == ["NAME", "local", "build1", "build2", "gone", "echo"], wrong
        assert [line[5].partition(":")[0] for line in lines[1:]] == ["ok", "ok", "ok", "FAILED", "ok"], said
        assert ran.returncode == 1
        async with service:  # what the command has made, a service takes for its own
            assert service.log()
