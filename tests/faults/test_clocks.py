"""The service is stopped for a while, or the wall clock jumps: nothing is lost, and nobody's time is over."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from support.raw import BINARY, Raw, frame
from support.service import Service
from support.stream import stream, verify

SUPPORT = Path(__file__).parents[1] / "support"
PROGRAM = SUPPORT / "stream.py"
SHIFTED = SUPPORT / "shifted.py"
INTERVAL_SECONDS = 0.5
STOP_SECONDS = 3.0
YEAR = 365 * 86400


@pytest.mark.platform("linux", "darwin")
async def test_a_service_that_stood_still_cuts_nobody_and_loses_nothing(tmp_path: Path) -> None:
    interval = str(INTERVAL_SECONDS)
    async with Service(tmp_path, WEBSOCKET_PING_INTERVAL=interval, HEARTBEAT_INTERVAL=interval) as service:
        command = [sys.executable, str(PROGRAM), "5", "300000"]
        session = (await service.create_session(command=command, ttl_seconds=30))["session_id"]
        async with (
            service.client(session, encoding="msgpack") as one,
            service.client(session, encoding="json", acks=True) as other,
        ):
            for client in (one, other):
                await client.wait(lambda client=client: client.position > 50_000, "output")  # type: ignore[misc]
            service.send_signal(signal.SIGSTOP)
            await asyncio.sleep(STOP_SECONDS)  # six intervals without a sign of life from either side
            service.send_signal(signal.SIGCONT)
            before = one.position
            for client in (one, other):
                await client.wait(lambda client=client: client.position > before + 200_000, "output again")  # type: ignore[misc]
            assert one.attaches == other.attaches == 1, "it was the service that was silent"
            one.send_unnumbered(b"q")
            for client in (one, other):
                assert (await client.wait_ended())["exit_code"] == 7
                verify(client.data, 5)


@pytest.mark.platform("linux", "darwin")
async def test_a_client_that_stood_still_is_cut_and_comes_back_whole(tmp_path: Path) -> None:
    async with Service(tmp_path, WEBSOCKET_PING_INTERVAL="0.2") as service:
        session = (await service.create_session(command=[sys.executable, str(PROGRAM), "6", "50000"]))["session_id"]
        async with await Raw.open(service.address[1]) as raw:  # reads, and never says a word
            raw.request(f"/ws/terminal/{session}", Sec_WebSocket_Protocol="terminal.v1.msgpack")
            assert b" 101 " in await raw.head()
            assert await raw.close_code() == 1001
        async with service.client(session) as client:
            await client.wait(lambda: client.position > 100_000, "output")
        assert client.data == stream(6, client.position)
        assert client.attaches == 1


async def test_jumps_of_the_wall_clock_end_nothing(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")
    service = Service(
        tmp_path, HOLDER="off", program=(str(SHIFTED), str(offset)), WEBSOCKET_PING_INTERVAL=str(INTERVAL_SECONDS)
    )
    async with service:
        session = (await service.create_session(command=["cat"], ttl_seconds=60, keepalive=False))["session_id"]
        ended = (await service.create_session(command=["true"]))["session_id"]
        async with service.client(ended) as client:
            await client.wait_ended()
        async with service.client(session) as client:
            for shift in (YEAR, -YEAR, 0.0, 10 * YEAR, -1_000.0):
                offset.write_text(str(shift))
                now = time.time() + shift
                info = await service.info(session)
                assert info["state"] == "running"
                assert 0 < info["expires_at"] - now <= 61, "shown by the clock that the user sees"
                assert 0 <= info["uptime"] < 60
                word = f"after {shift:.0f}"
                client.send_line(word)
                await client.wait_for_output(word.encode() + rb"\r\n" + word.encode())
                ticks = len([each for each in client.messages if each["type"] == "ping"])

                def has_ticked(ticks: int = ticks) -> bool:
                    return len([each for each in client.messages if each["type"] == "ping"]) >= ticks + 2

                await client.wait(has_ticked, "two pings: the time to live was looked at meanwhile")
                assert (await service.info(ended))["state"] == "ended", "still to be read"
            assert client.attaches == 1
        offset.write_text(str(-YEAR))
        await service.kill()
        await service.start()  # to which everything that was kept is of next year
        assert (await service.info(session))["state"] == "lost"
        assert b"after 0" in await service.output(session)
        assert "Traceback" not in service.log()


ODD_TIMES = (0, -1, 2**53, -(2**62), 1e308, -1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 0.1)
LAST_TIME = 77.0


async def test_the_clocks_of_clients_mean_nothing(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        created = await service.create_session(command=["cat"], ttl_seconds=60, keepalive=False)
        async with await Raw.open(service.address[1]) as raw:
            raw.request(f"/ws/terminal/{created['session_id']}", Sec_WebSocket_Protocol="terminal.v1.msgpack")
            assert b" 101 " in await raw.head()
            for kind in ("ping", "pong"):
                for odd in ODD_TIMES:
                    raw.send(frame(BINARY, msgspec.msgpack.encode({"type": kind, "timestamp": odd})))
            # A message, for its answer comes behind those to what was sent before; that to a frame overtakes them.
            raw.send(frame(BINARY, msgspec.msgpack.encode({"type": "ping", "timestamp": LAST_TIME})))
            answers, pongs = [], list[float]()
            while LAST_TIME not in pongs:
                answers.append(msgspec.msgpack.decode((await raw.receive())[1]))
                pongs = [answer["timestamp"] for answer in answers if answer["type"] == "pong"]
            assert repr(pongs) == repr([float(odd) for odd in (*ODD_TIMES, LAST_TIME)])
            assert not [answer for answer in answers if answer["type"] == "error"]
        info = await service.info(created["session_id"])
        assert abs(info["expires_at"] - time.time() - 60) < 30
