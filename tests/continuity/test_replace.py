"""A new process takes the place of the running one: nobody is refused, nothing is lost, and never are there two."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.asyncio.client import connect

from support.callers import Callers
from support.same import assert_same
from support.service import ROOT, Service
from support.stream import stream
from support.wait import wait_until
from terminal_service.app import LEAVING_SECONDS
from terminal_service.caller import Answer, Caller, inherit
from terminal_service.control import Refused

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from support.client import Client

pytestmark = pytest.mark.platform("linux", "darwin")

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
SEED, RATE = 5, 300_000
END_SECONDS = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def start_stream(service: Service) -> dict[str, Any]:
    return await service.create_session(command=[sys.executable, str(PROGRAM), str(SEED), str(RATE)])


async def refusal(service: Service, *program: str, **settings: str) -> tuple[int, str]:
    """Return the exit code and the words of a successor that does not succeed."""
    before = len(service.log())
    process = await service.start_successor(*program, **settings)
    async with asyncio.timeout(END_SECONDS):
        code = await process.wait()
    return code, service.log()[before:]


async def assert_goes_on(service: Service, session: dict[str, Any]) -> None:
    """Fail unless the running process serves, and the session with it."""
    assert json.loads((service.state / "service.json").read_text())["pid"] == service.pid
    info = await service.info(session["session_id"])
    assert (info["state"], info["pid"]) == ("running", session["pid"])


async def ask(service: Service, **fields: Any) -> tuple[Caller, Answer]:
    """Ask as a successor does; both are the caller's to close."""
    caller = await asyncio.to_thread(Caller.call, service.state)
    assert caller is not None
    try:
        fields = {"pid": os.getpid(), "holder": str(service.holder), **fields}
        return caller, await asyncio.to_thread(caller.ask, "replace", **fields)
    except BaseException:
        caller.close()
        raise


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_during_takeovers_nobody_is_refused_and_nothing_is_lost(
    tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    metrics = free_port()
    async with Service(tmp_path, PROMETHEUS_PORT=str(metrics)) as service:
        session = await start_stream(service)
        address = service.address
        pids = {service.pid}
        creation = json.dumps({"command": ["cat"]}).encode()
        head = b"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(creation)
        callers = Callers(address)
        others = Callers(
            ("127.0.0.1", metrics), b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        creators = Callers(address, head + creation, b"HTTP/1.1 201")
        async with service.client(session["session_id"]) as client:
            async with callers.calling(), others.calling(1):
                for _ in range(size(3, 30)):
                    async with creators.calling(1):
                        await service.replace()
                    assert service.address == address
                    pids.add(service.pid)
                    await client.wait(lambda: client.is_attached, "the client to be back")
                    for other in (await service.http.get("/api/v1/sessions", params={"limit": 1000})).json():
                        assert other["state"] == "running", other
                        if other["session_id"] != session["session_id"]:
                            await service.delete(other["session_id"])
            received = client.position
            await client.wait(lambda: client.position > received, "more output")
            codes = {code for code, _ in client.close_codes}
            assert_same(client.data, stream(SEED, len(client.data)))
        assert len(pids) == size(3, 30) + 1
        assert codes == {1012}
        assert (await service.info(session["session_id"]))["pid"] == session["pid"]
    for each in (callers, others, creators):
        assert each.failures == []
        assert each.answered > size(3, 30)
    assert callers.slowest_seconds < 5


async def test_a_unix_socket_and_its_name_go_over_too(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STATE_DIR": str(tmp_path / "state"),
        "UNIX_SOCKET": str(path),
        "STOP_SESSIONS_ON_EXIT": "true",
    }

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "run.py", *arguments, cwd=ROOT, env=environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(END_SECONDS):
            assert (await process.stdout.readline()).startswith(b"Terminal Service is ready")
        return process

    processes = [await start()]
    try:
        number = path.stat().st_ino
        callers = Callers(path)
        async with callers.calling():
            for _ in range(2):
                processes.append(await start("--replace"))
                async with asyncio.timeout(END_SECONDS):
                    assert await processes[-2].wait() == 0
        assert callers.failures == []
        assert path.stat().st_ino == number
        processes[-1].terminate()
        async with asyncio.timeout(END_SECONDS):
            assert await processes[-1].wait() == 0
        assert not path.exists()
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def test_one_that_cannot_start_leaves_the_running_one_alone(tmp_path: Path) -> None:
    broken = "import sys; sys.modules['transports.server'] = None\nfrom terminal_service.__main__ import main\n"
    with socket.create_server(("127.0.0.1", 0)) as busy:
        tries: Sequence[tuple[Sequence[str], dict[str, str], str]] = (
            ((), {"RETENTION_BYTES": "1"}, "RETENTION_BYTES"),
            ((), {"PORT": str(busy.getsockname()[1])}, "in use"),
            ((), {"HOLDER": "off"}, "another holder"),
            (("-c", broken + "sys.exit(main(['--replace']))"), {}, "transports.server"),
        )
        async with Service(tmp_path) as service:
            session = await service.create_session(command=["cat"])
            async with service.client(session["session_id"]) as client:
                for program, settings, words in tries:
                    code, said = await refusal(service, *program, **settings)
                    assert code in (1, 2), said
                    assert words in said
                    await assert_goes_on(service, session)
                assert client.attaches == 1


async def test_sessions_that_would_end_are_not_replaced(tmp_path: Path) -> None:
    async with Service(tmp_path, HOLDER="off") as service:
        session = await service.create_session(command=["cat"])
        code, said = await refusal(service)
        assert (code, "HOLDER=off" in said) == (2, True), said
        await assert_goes_on(service, session)
        await service.delete(session["session_id"])
        await service.replace()
        assert (await service.http.get("/health/ready")).is_success


async def test_other_settings_hold_after_a_replacement(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session = await service.create_session(command=["cat"])
        old = service.address
        port = free_port()
        await service.replace(PORT=str(port), SESSION_TTL_SECONDS="77")
        assert service.address == ("127.0.0.1", port)
        await assert_goes_on(service, session)
        assert (await service.create_session(command=["cat"]))["ttl_seconds"] == 77
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*old)


async def test_a_viewer_that_does_not_answer_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session = await service.create_session(command=["cat"])
        url = f"{service.base_url.replace('http', 'ws')}/ws/terminal/{session['session_id']}"
        deaf = await connect(url, close_timeout=0.1)
        try:
            deaf.transport.pause_reading()
            old, new = service.process, await service.start_successor()
            await service.become(new)
            began = time.monotonic()
            assert await old.wait() == 0
            assert time.monotonic() - began < LEAVING_SECONDS + 2.5  # five, if it waited for an answer
            await assert_goes_on(service, session)
        finally:
            deaf.transport.abort()


async def test_without_a_running_service_it_just_starts(tmp_path: Path) -> None:
    async with Service(tmp_path, program=("run.py", "--replace")) as service:
        session = await service.create_session(command=["cat"])
        await service.kill()  # its socket's name stays
        await service.start()
        await assert_goes_on(service, session)


async def test_nothing_changes_before_the_successor_is_ready(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session = await service.create_session(command=["cat"])
        caller, answer = await ask(service)
        sockets = inherit(answer)
        assert answer.fields["pid"] == service.pid
        assert [each.getsockname() for each in sockets.values()] == [service.address]
        await assert_goes_on(service, session)
        with pytest.raises(Refused, match="another process"):
            await ask(service)
        caller.close()
        for each in sockets.values():
            each.close()

        async def can_be_asked() -> bool:
            with contextlib.suppress(Refused):
                caller, answer = await ask(service)
                caller.close()
                for each in answer.sockets:
                    each.close()
                return True
            return False

        await wait_until(can_be_asked, description="the offer to be taken back")
        await assert_goes_on(service, session)
        await service.replace()
        await assert_goes_on(service, session)


async def test_a_successor_killed_when_it_was_ready_leaves_all_for_a_plain_start(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session = await start_stream(service)
        async with service.client(session["session_id"]) as client:
            await client.wait(lambda: client.position > 100_000, "output")
            caller, answer = await ask(service)
            await asyncio.to_thread(caller.say, ready=True)
            caller.close()
            for each in answer.sockets:
                each.close()
            assert await service.wait() == 0
            await service.start()
            client.base_url = service.base_url.replace("http", "ws", 1)
            position = client.position
            await client.wait(lambda: client.position > position + 100_000, "more output")
            assert_same(client.data, stream(SEED, len(client.data)))
        await assert_goes_on(service, session)


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["before", "during"])
@pytest.mark.parametrize("victim", ["old", "new"])
async def test_whoever_is_killed_in_the_middle_nothing_is_lost(
    tmp_path: Path, size: Callable[[int, int], int], rng: random.Random, victim: str, moment: str
) -> None:
    async with Service(tmp_path, PORT=str(free_port())) as service:
        session = await start_stream(service)
        async with service.client(session["session_id"]) as client:
            for _ in range(size(3, 40)):
                await client.wait(lambda: client.is_attached, "attached")
                old, new = service.process, await service.start_successor()
                if moment == "during":
                    line = f"replaced by process {new.pid}"
                    await wait_until(partial(has_logged, service, line), description="the old one to let go")
                    await asyncio.sleep(rng.uniform(0, 0.025))  # the moment is what this is about
                else:
                    await asyncio.sleep(rng.uniform(0, 0.8))
                await (kill_old(service, old, new) if victim == "old" else kill_new(service, old, new))
                received = client.position
                await client.wait(partial(has_received, client, received), "more output")
            assert_same(client.data, stream(SEED, len(client.data)))
        await assert_goes_on(service, session)


async def kill_old(service: Service, old: asyncio.subprocess.Process, new: asyncio.subprocess.Process) -> None:
    """Kill the old process: the new one serves, whatever it had got by then."""
    with contextlib.suppress(ProcessLookupError):
        old.kill()
    await old.wait()
    await service.become(new)


async def kill_new(service: Service, old: asyncio.subprocess.Process, new: asyncio.subprocess.Process) -> None:
    """Kill the new process: the old one goes on, or has let go of everything by then, and a plain start works."""
    new.kill()
    await new.wait()
    if await goes_on(service):
        assert old.returncode is None
        return
    code = await service.wait()
    assert code == 0
    await service.start()


def has_received(client: Client, position: int) -> bool:
    return client.position > position


def has_logged(service: Service, line: str) -> bool:
    return line in service.log()


async def goes_on(service: Service) -> bool:
    """Tell whether the old process stays, now that its successor is dead."""
    answers: list[bool] = []

    async def has_decided() -> bool:
        try:
            caller, answer = await ask(service)
        except (AssertionError, OSError):  # nobody listens there any more
            answers.append(False)
        except Refused as refused:
            if "another process" in str(refused):  # it has not noticed yet
                return False
            answers.append(False)
        else:
            caller.close()
            for each in answer.sockets:
                each.close()
            answers.append(True)
        return True

    await wait_until(has_decided, description="the old process to decide")
    return answers[0]
