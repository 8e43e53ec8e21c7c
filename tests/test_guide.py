"""The first users' guide still holds: what a newcomer does with curl and a few lines of Python works as told there."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.service import Service
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux", "darwin")

CURL_SECONDS = 30
COUNT = 3000
NUMBERS = "".join(f"{number}\r\n" for number in range(1, COUNT + 1)).encode()
COUNT_ALL = f"i=0; while [ $i -lt {COUNT} ]; do i=$((i+1)); echo $i; done"
AT_ONCE = 300
# Counts on by AT_ONCE for every line it is sent, so that every connection has something to miss.
COUNT_WHEN_ASKED = f"""
    stty -echo; i=0; echo ready
    while read line; do
        end=$((i + {AT_ONCE})); while [ $i -lt $end ]; do i=$((i+1)); echo $i; done
    done
"""
COUNTED = b"ready\r\n" + NUMBERS


class Answer(NamedTuple):
    """What curl got."""

    status: int
    body: Any


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    # A home of its own: a newcomer's machine, whatever the profile of whoever runs this does.
    async with Service(tmp_path, SESSION_TTL_SECONDS="86400", HOME=str(tmp_path)) as service:
        yield service


async def curl(service: Service, *arguments: str, path: str) -> Answer:
    """Ask with the real curl; return the status and the body, decoded where it is JSON."""
    process = await asyncio.create_subprocess_exec(
        "curl",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        str(CURL_SECONDS),
        "--write-out",
        "\n%{http_code}",
        *arguments,
        service.base_url + path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    body, _, status = out.decode().rpartition("\n")
    return Answer(int(status), json.loads(body) if body else None)


def as_json(method: str, **fields: object) -> list[str]:
    """Return curl's options for a request with a JSON body."""
    return ["-X", method, "-H", "Content-Type: application/json", "-d", json.dumps(fields)]


def socket_url(service: Service, session_id: str, query: str = "") -> str:
    return f"{service.base_url.replace('http', 'ws')}/ws/terminal/{session_id}{query}"


def typed(text: str) -> str:
    return json.dumps({"type": "input", "data": base64.b64encode(text.encode()).decode()})


async def read_until(ws: ClientConnection, wanted: bytes, already: bytes = b"") -> bytes:
    """Return `already` and the output after it, up to the message with which `wanted` is in it."""
    seen = already
    async with asyncio.timeout(30):
        while wanted not in seen:
            seen += await read(ws)
    return seen


async def read(ws: ClientConnection) -> bytes:
    """Return the bytes of the next output message. Raises ConnectionClosed where there is none."""
    while True:
        message = json.loads(await ws.recv())
        if message["type"] == "output":
            return base64.b64decode(message["data"])


async def test_curl_makes_lists_shows_resizes_and_ends_a_session(service: Service) -> None:
    status, session = await curl(
        service,
        *as_json("POST", shell="bash", rows=30, cols=120, user_id="user123", env={"CUSTOM_VAR": "production"}),
        path="/api/v1/sessions",
    )
    assert (status, session["shell"], session["rows"], session["cols"]) == (201, "bash", 30, 120)
    assert session["user_id"] == "user123"
    session_id, path = session["session_id"], f"/api/v1/sessions/{session['session_id']}"
    assert session["websocket_url"] == f"/ws/terminal/{session_id}"

    status, listed = await curl(service, path="/api/v1/sessions")
    assert (status, [each["session_id"] for each in listed]) == (200, [session_id])
    _, of_user = await curl(service, path="/api/v1/sessions?user_id=user123")
    _, of_other = await curl(service, path="/api/v1/sessions?user_id=user124")
    assert (len(of_user), of_other) == (1, [])

    assert (await curl(service, *as_json("PUT", rows=40, cols=160), path=path + "/resize")) == (
        200,
        {"status": "resized", "rows": 40, "cols": 160},
    )
    status, shown = await curl(service, path=path)
    assert (status, shown["rows"], shown["cols"]) == (200, 40, 160)

    assert await curl(service, "-X", "DELETE", path=path) == (204, None)
    await wait_until(lambda: not _lives(shown["pid"]), description="the shell to be gone")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_the_dashboard_finds_every_figure_it_shows(service: Service) -> None:
    _, session = await curl(service, *as_json("POST", shell="sh"), path="/api/v1/sessions")
    _, shown = await curl(service, path=f"/api/v1/sessions/{session['session_id']}")
    assert shown["session_id"] == session["session_id"]
    assert shown["shell"] == "sh"
    assert _lives(shown["pid"])
    assert (shown["rows"], shown["cols"]) == (24, 80)
    assert 0 <= shown["uptime"] < 60
    assert abs(shown["last_activity"] - time.time()) < 60
    status, health = await curl(service, path="/api/v1/health")
    assert (status, health["status"], health["active_sessions"]) == (200, "healthy", 1)


async def test_a_day_of_life_is_shown_and_a_resize_begins_it_anew(service: Service) -> None:
    _, session = await curl(service, *as_json("POST", shell="sh"), path="/api/v1/sessions")
    path = f"/api/v1/sessions/{session['session_id']}"
    assert session["expires_at"] - session["created_at"] == pytest.approx(86400, abs=60)
    await curl(service, *as_json("PUT", rows=30, cols=120), path=path + "/resize")
    _, shown = await curl(service, path=path)
    assert shown["ttl_seconds"] == 86400
    assert shown["expires_at"] > session["expires_at"]


@pytest.mark.parametrize("shell", ["bash", "sh"])
async def test_an_environment_is_added_and_programs_are_still_found(service: Service, shell: str) -> None:
    env = {"CUSTOM_VAR": "production", "PATH": "/custom/path:$PATH"}
    session = await service.create_session(shell=shell, rows=40, cols=160, env=env)
    async with connect(socket_url(service, session["session_id"]), proxy=None) as ws:
        await ws.send(typed("printenv CUSTOM_VAR PATH; uname | tr a-z A-Z; exit\n"))
        seen = await read_until(ws, f"\n{os.uname().sysname.upper()}\r\n".encode())
    assert re.search(rb"production\r\n(?:[^\r\n]*:)?/custom/path:/", seen), seen


async def test_a_few_lines_of_python_are_a_client(service: Service) -> None:
    session = await service.create_session(shell="bash")
    async with connect(socket_url(service, session["session_id"]), proxy=None) as ws:
        await ws.send(typed("echo 'Hel''lo'\n"))
        assert b"Hello\r\n" in await read_until(ws, b"Hello\r\n")


async def test_a_loop_that_counts_positions_misses_and_doubles_nothing(service: Service) -> None:
    session = await service.create_session(command=["sh", "-c", COUNT_WHEN_ASKED])
    seen, position, connections = b"", 0, 0
    while len(seen) < len(COUNTED):
        url = socket_url(service, session["session_id"], f"?recover_from={position}")
        async with asyncio.timeout(30), connect(url, proxy=None) as ws:
            connections += 1
            if 1 < connections <= 1 + COUNT // AT_ONCE:
                await ws.send(typed("\n"))
            while True:  # leaves in the middle of what is printed
                message = json.loads(await ws.recv())
                if message["type"] == "output":
                    seen += base64.b64decode(message["data"])
                    position = message["seq"]
                    assert position == len(seen)
                    break
    assert connections > COUNT // AT_ONCE
    assert seen == COUNTED == await service.output(session["session_id"])


async def test_the_word_last_sequence_continues_for_a_client_with_a_name(service: Service) -> None:
    session = await service.create_session(command=["sh", "-c", COUNT_WHEN_ASKED])
    url = socket_url(service, session["session_id"], "?recover_from=last_sequence&client_id=newcomer")
    seen, connections = b"", 0
    while len(seen) < len(COUNTED):
        async with asyncio.timeout(30), connect(url, proxy=None) as ws:
            connections += 1
            attached = json.loads(await ws.recv())
            assert (attached["type"], attached["recover"], attached["seq"]) == ("attached", "exact", len(seen))
            if 1 < connections <= 1 + COUNT // AT_ONCE:
                await ws.send(typed("\n"))
            seen += await read(ws)
            await ws.send('{"type": "detach"}')
            with contextlib.suppress(ConnectionClosed):  # whoever reads to the end has all that was delivered
                while True:
                    seen += await read(ws)
    assert connections > COUNT // AT_ONCE
    assert seen == COUNTED


async def test_the_word_last_sequence_gives_all_to_a_client_without_a_name(service: Service) -> None:
    session = await service.create_session(command=["sh", "-c", COUNT_ALL + "; cat"])
    for _ in range(2):
        url = socket_url(service, session["session_id"], "?recover_from=last_sequence")
        async with connect(url, proxy=None) as ws:
            assert await read_until(ws, f"\n{COUNT}\r\n".encode()) == NUMBERS


async def test_two_clients_of_a_session_see_the_same_bytes_and_may_both_type(service: Service) -> None:
    session = await service.create_session(command=["cat"])
    url = socket_url(service, session["session_id"])
    async with connect(url, proxy=None) as ann, connect(url, proxy=None) as bob:
        await ann.send(typed("from ann\n"))
        first = await asyncio.gather(*(read_until(each, b"from ann\r\nfrom ann\r\n") for each in (ann, bob)))
        await bob.send(typed("from bob\n"))
        seen = await asyncio.gather(
            *(read_until(ws, b"from bob\r\nfrom bob\r\n", so_far) for ws, so_far in zip((ann, bob), first, strict=True))
        )
    assert seen[0] == seen[1]


async def test_what_a_client_writes_to_a_file_is_what_the_service_has(service: Service, tmp_path: Path) -> None:
    session = await service.create_session(command=["sh", "-c", COUNT_ALL + "; exit 3"])
    record = bytearray()
    url = socket_url(service, session["session_id"], "?recover_from=0")
    async with asyncio.timeout(30), connect(url, proxy=None) as ws:
        async for text in ws:
            message = json.loads(text)
            if message["type"] == "output":
                record += base64.b64decode(message["data"])
            if message["type"] == "session_ended":
                assert message["exit_code"] == 3
    fetched = tmp_path / "fetched"
    path = f"/api/v1/sessions/{session['session_id']}/output?from=0"
    assert (await curl(service, "--output", str(fetched), path=path)).status == 200
    assert fetched.read_bytes() == record == NUMBERS


@pytest.fixture
def directory_without_pwsh(tmp_path: Path) -> Path:
    """Give a directory to be the whole PATH, with links to sh and cat and nothing else."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("sh", "cat"):
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    return directory


async def test_a_missing_powershell_is_told_with_the_shells_there_are(
    tmp_path: Path, directory_without_pwsh: Path
) -> None:
    async with Service(tmp_path, PATH=str(directory_without_pwsh)) as service:
        status, problem = await curl(service, *as_json("POST", shell="powershell"), path="/api/v1/sessions")
        assert status == 422, problem
        assert "powershell" in problem["detail"]
        assert "sh" in json.dumps(problem).replace("powershell", "").replace("pwsh", "")
        assert (await curl(service, path="/api/v1/health"))[1]["active_sessions"] == 0


async def test_a_powershell_that_is_there_starts_without_its_banner(
    tmp_path: Path, directory_without_pwsh: Path
) -> None:
    stub = directory_without_pwsh / "pwsh"
    stub.write_text('#!/bin/sh\necho "started [$*]"\nexec cat\n')
    stub.chmod(0o755)
    async with Service(tmp_path, PATH=str(directory_without_pwsh)) as service:
        fields = {"shell": "powershell", "rows": 30, "cols": 120}
        status, session = await curl(service, *as_json("POST", **fields), path="/api/v1/sessions")
        assert (status, session["shell"]) == (201, "powershell")
        async with connect(socket_url(service, session["session_id"], "?recover_from=0"), proxy=None) as ws:
            assert b"started [-NoLogo]\r\n" in await read_until(ws, b"]\r\n")
