"""How the service starts and stops: refusals in one line, where it listens, what it writes, what it never tells."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import InvalidHandshake

import terminal_service
from support.service import ROOT, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux", "darwin")

END_SECONDS = 30.0


class Ended(NamedTuple):
    """What came of a run that ended by itself."""

    code: int
    out: str
    err: str


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """Return variables for a run that touches nothing outside `directory`."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PORT": "0",
        "STATE_DIR": str(directory / "state"),
        "STOP_SESSIONS_ON_EXIT": "true",  # or a holder would stay, with what runs in it
        **settings,
    }


async def run(directory: Path, *arguments: str, **settings: str) -> Ended:
    """Run `run.py` until it ends by itself; AssertionError if it does not."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "run.py",
        *arguments,
        cwd=ROOT,
        env=environment(directory, **settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(END_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"it did not end by itself: {out!r} {err!r}") from None
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def refusal(directory: Path, **settings: str) -> str:
    """Return the one line with which a start is refused."""
    ended = await run(directory, **settings)
    assert ended.code == 2, ended
    assert ended.out == "", ended
    assert ended.err.count("\n") == 1, ended.err
    assert ended.err.startswith("terminal-service: "), ended.err
    return ended.err


@contextlib.asynccontextmanager
async def behind_a_socket(directory: Path, path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run the service on a Unix socket; give an HTTP client of it."""
    settings = environment(directory, UNIX_SOCKET=str(path), STOP_SESSIONS_ON_EXIT="true")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "run.py", cwd=ROOT, env=settings, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(END_SECONDS):
            said = await process.stdout.readline()
        assert said == f"Terminal Service is ready: http+unix://{path}\n".encode()
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=30) as http:
            yield http
        process.terminate()
        async with asyncio.timeout(END_SECONDS):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def busy_port() -> Iterator[int]:
    """Give a port of loopback that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Service(tmp_path) as service:
        yield service


async def test_a_wrong_setting_stops_the_start_with_one_line(tmp_path: Path) -> None:
    key = "k" * 32
    wrong = [
        ("PORT", "eighty"),
        ("HOST", "0.0.0.0"),
        ("HOST", "no-such-host.invalid"),
        ("API_KEYS", "canary-key-without-user"),
        ("STATE_DIR", "/dev/null"),
        ("DEFAULT_SHELL", "no-such-shell"),
        ("DEFAULT_SHELL", "/bin/sh"),
        ("UNIX_SOCKET", "/no/such/directory/socket"),
    ]

    async def refused(number: int, name: str, value: str) -> None:
        keys = {"API_KEYS": f"ann:{key}"} if value.endswith(".invalid") else {}
        line = await refusal(tmp_path / str(number), **{name: value, **keys})
        assert name in line
        assert "canary" not in line
        assert key not in line

    await asyncio.gather(*(refused(number, *each) for number, each in enumerate(wrong)))


async def test_a_default_shell_is_looked_for_before_anybody_needs_it(tmp_path: Path) -> None:
    line = await refusal(tmp_path, DEFAULT_SHELL="no-such-shell")
    allowed = line.rpartition("allowed: ")[2].strip().split(", ")
    assert {"bash", "sh"} <= set(allowed)
    async with Service(tmp_path, DEFAULT_SHELL=allowed[-1]) as service:
        assert (await service.create_session())["shell"] == allowed[-1]


async def test_a_port_in_use_is_told_and_named(tmp_path: Path, busy_port: int) -> None:
    line = await refusal(tmp_path, PORT=str(busy_port))
    assert "in use" in line
    assert str(busy_port) in line
    line = await refusal(tmp_path, PROMETHEUS_PORT=str(busy_port))
    assert "in use" in line
    assert f"PROMETHEUS_PORT={busy_port}" in line


async def test_a_second_service_on_the_same_state_is_refused(service: Service, tmp_path: Path) -> None:
    assert str(service.state) in await refusal(tmp_path, STATE_DIR=str(service.state))
    assert (await service.http.get("/api/v1/health")).is_success
    assert json.loads((service.state / "service.json").read_text())["pid"] == service.pid


async def test_help_and_version_need_no_settings(tmp_path: Path) -> None:
    helped, version = await asyncio.gather(run(tmp_path, "--help", PORT="x"), run(tmp_path, "--version", PORT="x"))
    assert (helped.code, helped.err) == (0, "")
    assert "--env-file" in helped.out
    assert ".env.example" in helped.out
    assert version == (0, terminal_service.__version__ + "\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_start_prints_its_url_and_a_signal_ends_it_with_0(tmp_path: Path, number: int) -> None:
    async with Service(tmp_path, LOG_FORMAT="json") as service:
        host, port = service.address
        assert port != 0
        assert f"Terminal Service is ready: http://{host}:{port}\n" in service.log()
        session = await service.create_session(command=["cat"])
        service.send_signal(number)
        assert await service.wait() == 0
        assert not (service.state / "service.json").exists()
        events = [json.loads(line) for line in service.log().splitlines() if not line.startswith("Terminal Service")]
    assert "stopping" in {event["event"] for event in events}
    assert all({"event", "level", "logger", "timestamp"} <= event.keys() for event in events)
    with pytest.raises(ProcessLookupError):
        os.kill(session["pid"], 0)


async def test_what_is_written_is_for_this_user_only(service: Service) -> None:
    session = await service.create_session(command=["sh", "-c", "echo kept; cat"])
    async with service.client(session["session_id"]) as client:
        await client.wait_for_output(rb"kept")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [service.state, *service.state.rglob("*")]}
    assert len(modes) > 3
    open_to_others = {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077 and path.is_dir()}
    assert open_to_others == {}
    assert modes[service.state] == 0o700
    logs = {path: mode for path, mode in modes.items() if path.is_file() and "sessions" in path.parts}
    assert logs
    assert all(mode & 0o077 == 0 for mode in logs.values()), logs


async def test_a_directory_that_others_may_depend_on_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "of somebody").touch()
    assert "STATE_DIR" in (line := await refusal(tmp_path, STATE_DIR=str(shared)))
    assert "one of its own" in line
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    assert [path.name for path in shared.iterdir()] == ["of somebody"]


async def test_metrics_are_served_on_a_port_of_their_own_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with Service(tmp_path, PROMETHEUS_PORT=str(port)) as service, httpx.AsyncClient(trust_env=False) as http:
        await service.create_session(command=["cat"])
        alone = await http.get(f"http://127.0.0.1:{port}/metrics")
        assert alone.is_success
        assert "terminal_sessions_active 1.0" in alone.text
        assert (await http.get(f"http://127.0.0.1:{port}/api/v1/sessions")).status_code == httpx.codes.NOT_FOUND


async def test_a_unix_socket_is_private_and_all_of_the_service_is_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    async with behind_a_socket(tmp_path, path) as http:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        created = await http.post("/api/v1/sessions", json={"command": ["sh", "-c", "echo seen; cat"]})
        assert created.status_code == httpx.codes.CREATED, created.text
        async with unix_connect(str(path), f"ws://localhost{created.json()['websocket_url']}?recover_from=0") as ws:
            seen = b""
            while b"seen" not in seen:
                message = json.loads(await ws.recv())
                seen += base64.b64decode(message.get("data", ""))
        assert "in use" in await refusal(tmp_path / "second", UNIX_SOCKET=str(path))
        assert (await http.get("/api/v1/health")).is_success
    assert not path.exists()


async def test_a_file_in_the_place_of_a_unix_socket_stays_and_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("precious")
    assert "no socket" in await refusal(tmp_path, UNIX_SOCKET=str(file))
    assert file.read_text() == "precious"
    path = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    async with behind_a_socket(tmp_path, path) as http:
        assert (await http.get("/api/v1/health")).is_success


async def test_nothing_typed_set_or_asked_reaches_the_logs_or_the_metrics(tmp_path: Path) -> None:
    key = "canary-key-" + "k" * 32
    headers = {"Authorization": f"Bearer {key}"}
    async with Service(tmp_path, headers=headers, API_KEYS=f"ann:{key}", REDIS_PASSWORD="canary-set") as service:
        session = await service.create_session(command=["cat"], env={"TOLD": "canary-env"}, cwd="/")
        path = f"/api/v1/sessions/{session['session_id']}"
        async with service.client(session["session_id"]) as client:
            client.send_line("canary-typed")
            await client.wait_for_output(rb"canary-typed\r\ncanary-typed")
        answers = [
            await service.http.get(path, params={"ticket": "canary-ticket"}),
            await service.http.get(path, headers={"Authorization": "Bearer canary-wrong-key"}),
            await service.http.get("/api/v1/sessions", params={"cursor": "canary-cursor"}),
            await service.http.post("/api/v1/sessions", json={"env": {"canary-name": 5, "A": ["canary-value"]}}),
            await service.http.post("/api/v1/sessions", content=b"canary-body"),
            await service.http.post(path + "/input", json={"text": "canary-posted"}),
        ]
        with contextlib.suppress(InvalidHandshake):
            async with connect(f"{service.base_url.replace('http', 'ws')}/ws/terminal/x?canary-query=canary-ws"):
                raise AssertionError("attached without a key")
        metrics = (await service.http.get("/metrics")).text
    assert [answer.status_code for answer in answers] == [200, 401, 422, 422, 415, 202]
    assert metrics.count("terminal_") > 10
    assert "canary" not in metrics
    assert "canary" not in service.log()
    assert service.log().count("\n") > 1
