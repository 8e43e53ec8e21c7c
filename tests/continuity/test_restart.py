"""What holds when the service itself ends: told and clean by SIGTERM, whole files after SIGKILL."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from support.same import assert_same
from support.service import Service
from support.stream import stream
from support.wait import wait_until

if TYPE_CHECKING:
    from support.client import Client

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
REMEMBERED = ("reason", "exit_code", "signal")
STUBBORN = "trap '' HUP TERM; sleep 600 & printf READY; while :; do sleep 600; done"


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended (one that only waits for its parent counts)."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_sigterm_tells_clients_ends_every_shell_and_exits_with_zero(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="0.3") as service:
        polite = (await service.create_session(shell="sh"))["session_id"]
        stubborn = (await service.create_session(command=["sh", "-c", STUBBORN]))["session_id"]
        async with (
            service.client(polite, reconnect=False) as one,
            service.client(stubborn, encoding="json", reconnect=False) as other,
        ):
            await other.wait_for_output(b"READY")
            shells = [(await service.info(session))["pid"] for session in (polite, stubborn)]
            tree = [child.pid for shell in shells for child in psutil.Process(shell).children(recursive=True)]
            assert len(tree) >= 2
            service.send_signal(signal.SIGTERM)
            for client in (one, other):
                await client.wait_over()
                code, reason = client.close_codes[-1]
                assert code == 1012
                assert "retry" in reason
            assert await service.wait() == 0
        assert [pid for pid in (*shells, *tree) if not is_gone(pid)] == []
        assert "Traceback" not in service.log()


async def test_sigterm_while_output_floods_and_input_waits_still_ends_in_time(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="0.3") as service:
        flood = (await service.create_session(command=["yes"]))["session_id"]
        deaf = (await service.create_session(command=["sh", "-c", "stty raw; exec sleep 600"]))["session_id"]
        async with (
            service.client(flood, reconnect=False) as watching,
            service.client(deaf, reconnect=False) as typing,
        ):
            await watching.wait(lambda: watching.position > 1 << 20, "a flood")
            for _ in range(8):
                typing.send_input(bytes(64 * 1024))
            service.send_signal(signal.SIGTERM)
            assert await service.wait() == 0
            await watching.wait_over()
            await typing.wait_over()


async def test_requests_after_sigterm_are_refused_not_hung(tmp_path: Path) -> None:
    async with Service(tmp_path, STOP_GRACE_SECONDS="0.5") as service:
        await service.create_session(command=["sh", "-c", STUBBORN])
        http, base = service.http, service.base_url
        service.send_signal(signal.SIGTERM)

        async def is_refused() -> bool:
            try:
                async with asyncio.timeout(20):
                    answer = await http.post(f"{base}/api/v1/sessions", json={"shell": "sh"})
            except TimeoutError as error:
                raise AssertionError("neither refused nor served") from error
            except OSError:
                return True
            except Exception as error:
                if type(error).__module__.startswith("httpx"):
                    return True
                raise
            return answer.status_code == 503

        await wait_until(is_refused, description="a refusal")
        assert await service.wait() == 0


async def watch(client: Client, received: int) -> None:
    await client.wait(lambda: client.position > received, f"{received} bytes")


async def test_output_is_whole_and_readable_after_kill_9_and_the_session_is_told_lost(tmp_path: Path) -> None:
    service = Service(tmp_path, HOLDER="off")
    async with service:
        command = [sys.executable, str(PROGRAM), "11", "2000000"]
        session_id = (await service.create_session(command=command))["session_id"]
        shell = (await service.info(session_id))["pid"]
        client = service.client(session_id, reconnect=False)
        async with client:
            await watch(client, 300_000)
            await service.kill()
            await client.wait_over()
        await wait_until(lambda: is_gone(shell), description="the orphaned program to be gone")
        await service.start()
        # What the client had received is part of what was kept, byte for byte; what follows it is the program's.
        kept = await service.output(session_id)
        assert len(kept) >= len(client.data)
        assert_same(kept, stream(11, len(kept)))
        info = await service.info(session_id)
        assert info["state"] == "lost"
        assert info["history"][-1]["reason"]
        async with service.client(session_id, recover_from=client.position) as later:
            ended = await later.wait_ended()
        assert_same(later.data, kept[client.position :])
        assert (ended["exit_code"], ended["signal"]) == (None, None)
        assert later.transcript.epoch == client.transcript.epoch
        listed = (await service.http.get("/api/v1/sessions", params={"state": "lost"})).json()
        assert [session["session_id"] for session in listed] == [session_id]


def is_over(record: Path) -> bool:
    """Tell whether a session's record says that it has ended."""
    return bool(json.loads(record.read_text())["history"][-1][0] == "ended")


@pytest.mark.parametrize("crash", [False, True], ids=["SIGTERM", "SIGKILL"])
async def test_how_a_session_ended_outlives_the_service(tmp_path: Path, crash: bool) -> None:  # noqa: FBT001 - a parameter of the test
    service = Service(tmp_path)
    async with service:
        scripts = {"printf one; exit 7": (7, None), "printf two; kill -USR1 $$": (None, "SIGUSR1")}
        sessions = {}
        for script in scripts:
            session_id = (await service.create_session(command=["sh", "-c", script]))["session_id"]
            async with service.client(session_id) as client:
                sessions[session_id] = await client.wait_ended()
            record = service.state / "sessions" / session_id / "session.json"
            await wait_until(functools.partial(is_over, record), description="the record of its end")
        await (service.kill() if crash else service.stop())
        await service.start()
        for (session_id, before), (code, signal_name) in zip(sessions.items(), scripts.values(), strict=True):
            info = await service.info(session_id)
            assert (info["state"], info["exit_code"], info["signal"]) == ("ended", code, signal_name)
            async with service.client(session_id) as client:
                ended = await client.wait_ended()
            assert [ended[name] for name in REMEMBERED] == [before[name] for name in REMEMBERED]


@pytest.mark.full
async def test_kill_9_at_any_moment_leaves_whole_files(tmp_path: Path) -> None:
    service = Service(tmp_path, HOLDER="off", RETENTION_BYTES=str(128 * 1024))  # the ring wraps many times
    await service.start()
    try:
        for received in (1, 50_000, 400_000, 1_500_000):
            command = [sys.executable, str(PROGRAM), str(received)]
            session_id = (await service.create_session(command=command, cols=100))["session_id"]
            client = service.client(session_id, reconnect=False)
            async with client:
                await watch(client, received)
                await service.kill()
                await client.wait_over()
            await service.start()
            info = await service.info(session_id)
            first, head = info["first"], info["seq"]
            assert head >= client.position
            assert head - first <= 128 * 1024
            whole = stream(received, head)
            assert_same(await service.output(session_id, first), whole[first:head])
            assert_same(client.data, whole[client.transcript.start : client.position])
    finally:
        await service.stop()


async def test_a_damaged_file_is_set_aside_and_told_and_harms_no_other_session(tmp_path: Path) -> None:
    service = Service(tmp_path, HOLDER="off")
    async with service:
        sessions = [
            (await service.create_session(command=["sh", "-c", f"printf {word}; exec sleep 600"]))["session_id"]
            for word in ("good", "broken")
        ]
        for session, word in zip(sessions, (b"good", b"broken"), strict=True):
            async with service.client(session) as client:
                await client.wait_for_output(word)
        await service.kill()
        (ring,) = service.state.rglob(f"{sessions[1]}/*.ring")
        with ring.open("r+b") as file:
            file.write(os.urandom(64))
        await service.start()
        assert await service.output(sessions[0]) == b"good"
        info = await service.info(sessions[1])
        assert info["state"] == "lost"
        assert list(ring.parent.glob("*.damaged-*"))
        assert json.dumps(ring.name)[1:-6] in service.log()
