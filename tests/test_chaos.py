"""The chaos proxy does what its plan says, to the byte, and the seed alone decides the plan."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.chaos import ChaosProxy
from support.weather import End, Fate, Lane, Plan, Storm, Way

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAYLOAD = bytes(range(256)) * 400
TOOL = Path(__file__).parent / "support" / "chaos.py"
WILD = Storm(freeze_share=0.1, delay_share=0.5, throttle_share=0.5, fragment_share=0.5, stall_share=0.5)


class Peer:
    """A server that sends `PAYLOAD` to each connection, keeps what it is sent, and notes how it ended."""

    def __init__(self) -> None:
        self.received: list[bytearray] = []
        self.errors: list[OSError] = []
        self.done = asyncio.Event()
        self.address = ("127.0.0.1", 0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kept = bytearray()
        self.received.append(kept)
        try:
            writer.write(PAYLOAD)
            while data := await reader.read(65536):
                kept += data
            await writer.drain()
        except OSError as error:
            self.errors.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self.done.set()


@contextlib.asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    it = Peer()
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.address = server.sockets[0].getsockname()[:2]
    async with server:
        yield it


async def read_all(proxy: ChaosProxy, *, send: bytes = b"") -> tuple[bytes, OSError | None]:
    """Connect, send, read until the end; return what came and the error that ended it, if any."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
    kept = bytearray()
    try:
        writer.write(send)
        while len(kept) < len(PAYLOAD) and (data := await reader.read(65536)):
            kept += data
    except OSError as error:
        return bytes(kept), error
    else:
        return bytes(kept), None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_calm_weather_changes_nothing_in_either_direction() -> None:
    async with peer() as server, ChaosProxy(server.address, Plan(seed=1)) as proxy:
        got, error = await read_all(proxy, send=PAYLOAD)
        await server.done.wait()
    assert (got, error) == (PAYLOAD, None)
    assert bytes(server.received[0]) == PAYLOAD
    assert (proxy.statistics.up_bytes, proxy.statistics.down_bytes) == (len(PAYLOAD), len(PAYLOAD))
    assert proxy.statistics.cuts == 0


@pytest.mark.parametrize("count", [0, 1, 777, 60_001])
async def test_fin_comes_after_exactly_the_planned_bytes_down(count: int) -> None:
    plan = Plan(1, every=Fate(end=End.FIN, cut_bytes=count))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        got, error = await read_all(proxy)
        await server.done.wait()
    assert (got, error) == (PAYLOAD[:count], None)
    assert proxy.statistics.ends == {"fin": 1}


@pytest.mark.parametrize("count", [1, 777, 60_001])
async def test_fin_comes_after_exactly_the_planned_bytes_up(count: int) -> None:
    fate = Fate(end=End.FIN, cut_way=Way.UP, cut_bytes=count, down=Lane(stall_seconds=9, stall_after_bytes=0))
    async with peer() as server, ChaosProxy(server.address, Plan(1, every=fate)) as proxy:
        await read_all(proxy, send=PAYLOAD)
        await server.done.wait()
    assert bytes(server.received[0]) == PAYLOAD[:count]


async def test_a_reset_is_felt_on_both_sides() -> None:
    plan = Plan(1, every=Fate(end=End.RST, cut_bytes=5_000))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        got, error = await read_all(proxy)
        await server.done.wait()
    assert isinstance(error, ConnectionResetError)
    assert PAYLOAD.startswith(got)
    assert len(got) <= 5_000
    assert [type(error) for error in server.errors] == [ConnectionResetError]


async def test_a_frozen_connection_tells_nobody_until_its_time_is_over() -> None:
    plan = Plan(1, every=Fate(end=End.FREEZE, cut_bytes=100, freeze_seconds=0.3))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        assert await reader.readexactly(100) == PAYLOAD[:100]
        began = asyncio.get_running_loop().time()
        writer.write(b"nobody gets this")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        assert asyncio.get_running_loop().time() - began > 0.2
        await server.done.wait()
        writer.close()
    assert server.received == [b""]


async def test_a_direction_stands_still_while_the_other_one_goes_on() -> None:
    plan = Plan(1, every=Fate(down=Lane(stall_after_bytes=1000, stall_seconds=60)))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        assert await reader.readexactly(1000) == PAYLOAD[:1000]
        writer.write(b"up goes on")
        writer.write_eof()
        await server.done.wait()
        assert server.received == [b"up goes on"]
        assert proxy.statistics.down_bytes == 1000
        writer.close()


async def test_delay_holds_each_byte_back_without_halving_the_rate() -> None:
    plan = Plan(1, every=Fate(down=Lane(delay_seconds=0.2)))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        began = asyncio.get_running_loop().time()
        got, _ = await read_all(proxy)
        took = asyncio.get_running_loop().time() - began
    assert got == PAYLOAD
    tick = 0.002  # uvloop's clock goes by whole milliseconds
    assert 0.2 - tick <= took < 0.2 * len(PAYLOAD) / 16_384  # chunk after chunk would take at least this


async def test_throttle_bounds_the_rate_of_one_direction_only() -> None:
    plan = Plan(1, every=Fate(down=Lane(bytes_per_second=200_000)))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        clock = asyncio.get_running_loop().time
        began = clock()
        _, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.write(PAYLOAD)
        writer.write_eof()
        await server.done.wait()  # it got everything up, and its kernel has everything down
        up_took = clock() - began
        began = clock()
        got, _ = await read_all(proxy)
        down_took = clock() - began
        writer.close()
    assert bytes(server.received[0]) == got == PAYLOAD
    assert down_took >= 0.8 * len(PAYLOAD) / 200_000
    assert up_took < down_took


async def test_throttled_and_unread_connection_holds_back_the_sender() -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with contextlib.suppress(OSError):
            while sent < 1 << 26:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    plan = Plan(1, every=Fate(down=Lane(bytes_per_second=1000)))
    async with server, ChaosProxy(server.sockets[0].getsockname()[:2], plan) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        await reader.readexactly(100)
        before = -1
        while before != sent:  # the sender has come to a stand
            before = sent
            await asyncio.sleep(0.1)
        writer.close()
    assert sent < 1 << 24


async def test_fragments_are_many_and_whole() -> None:
    plan = Plan(1, every=Fate(up=Lane(fragment_bytes=100), down=Lane(fragment_bytes=100), seed="1"))
    async with peer() as server, ChaosProxy(server.address, plan) as proxy:
        got, _ = await read_all(proxy, send=PAYLOAD[:5000])
        await server.done.wait()
    assert got == PAYLOAD
    assert bytes(server.received[0]) == PAYLOAD[:5000]
    assert proxy.statistics.fragments > len(PAYLOAD) / 100


async def test_all_connections_can_be_cut_by_hand() -> None:
    async with peer() as server, ChaosProxy(server.address, Plan(seed=1)) as proxy:
        reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
        await reader.readexactly(len(PAYLOAD))
        proxy.cut_all(End.RST)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    assert proxy.statistics.ends == {"rst": 1}


async def test_a_target_that_refuses_is_a_reset_and_counted() -> None:
    async with peer() as server:
        gone = server.address
    async with ChaosProxy(gone, Plan(seed=1)) as proxy:
        got, error = await read_all(proxy)
    assert got == b""
    assert isinstance(error, ConnectionResetError)
    assert proxy.statistics.refused == 1


async def test_leaving_the_proxy_ends_frozen_connections_and_all_tasks() -> None:
    tasks = asyncio.all_tasks()
    async with peer() as server:
        freeze = Fate(end=End.FREEZE, cut_bytes=10, freeze_seconds=60)
        async with ChaosProxy(server.address, Plan(1, every=freeze)) as proxy:
            reader, writer = await asyncio.open_connection(proxy.host, proxy.port)
            await reader.readexactly(10)
            assert proxy.links == 1
        assert proxy.links == 0
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await server.done.wait()
    assert asyncio.all_tasks() == tasks


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    fates = [Plan(7, WILD).fate(index) for index in range(200)]
    assert fates == [Plan(7, WILD).fate(index) for index in reversed(range(200))][::-1]
    assert fates != [Plan(8, WILD).fate(index) for index in range(200)]
    assert {fate.end for fate in fates} == set(End)
    assert {fate.cut_way for fate in fates} == set(Way)


def test_changing_one_share_leaves_the_rest_of_the_plan() -> None:
    calmer = dataclasses.replace(WILD, throttle_share=0)
    for index in range(50):
        one, other = Plan(7, WILD).fate(index), Plan(7, calmer).fate(index)
        assert (one.end, one.cut_bytes, one.up.delay_seconds, one.down.fragment_bytes) == (
            other.end,
            other.cut_bytes,
            other.up.delay_seconds,
            other.down.fragment_bytes,
        )


async def test_the_command_prints_its_plan_carries_and_reports() -> None:
    shown = await _output("--seed", "7", "--show", "3")
    assert shown == await _output("--seed", "7", "--show", "3")
    assert [json.loads(line)["cut_bytes"] for line in shown.splitlines()] == [
        Plan("7", Storm()).fate(index).cut_bytes for index in range(3)
    ]
    async with peer() as server:
        arguments = [
            "--target",
            f"127.0.0.1:{server.address[1]}",
            "--fin-share",
            "1",
            "--cut-bytes",
            "9",
            "9",
        ]
        tool = await asyncio.create_subprocess_exec(
            sys.executable, TOOL, *arguments, "--cut-up-share", "0", stdout=asyncio.subprocess.PIPE
        )
        assert tool.stdout is not None
        address = (await tool.stdout.readline()).decode().split()[2].rstrip(",")
        reader, writer = await asyncio.open_connection(*address.split(":"))
        assert await reader.read() == PAYLOAD[:9]
        writer.close()
        tool.send_signal(signal.SIGTERM)
        statistics = json.loads(await tool.stdout.read())
        assert await tool.wait() == os.EX_OK
    assert statistics["ends"] == {"fin": 1}
    assert statistics["down_bytes"] == 9


async def _output(*arguments: str) -> bytes:
    tool = await asyncio.create_subprocess_exec(sys.executable, TOOL, *arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await tool.communicate()
    assert tool.returncode == os.EX_OK
    return output
