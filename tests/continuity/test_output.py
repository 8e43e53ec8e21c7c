"""C1: every byte of output arrives once and in order, whatever happens to the connections."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.chaos import ChaosProxy
from support.same import assert_same
from support.service import Service
from support.stream import EXIT_CODE, PIECES, verify
from support.weather import End, Plan, Storm

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from support.client import Client

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
TERMINALS = 8
RETENTION = 64 << 20  # the full size prints more than the default keeps
RATE = 60_000  # bytes a second of each: some cuts meet live output, some a replay
STORM = Storm(
    fin_share=0.48,  # with the next two: 1, every connection is cut
    rst_share=0.5,
    freeze_share=0.02,
    cut_bytes=(150, 10_000),  # from within the handshake on
    cut_up_share=0.1,
    cut_up_bytes=(1, 600),  # a viewer says little after the handshake
    freeze_seconds=0.6,
    fragment_share=0.2,
    stall_share=0.05,
)


def is_inside_character(data: bytes, position: int) -> bool:
    """Tell whether a position lies within a UTF-8 character."""
    return position < len(data) and data[position] & 0xC0 == 0x80


def is_inside_escape(data: bytes, position: int) -> bool:
    """Tell whether a position lies within one of the stream's escape sequences."""
    return any(
        data.startswith(piece, position - offset)
        for piece in PIECES
        if piece.startswith(b"\x1b")
        for offset in range(1, min(len(piece), position + 1))
    )


async def watch_through_storm(service: Service, seed: int, encoding: str, cuts: int) -> Client:
    """Run a program in a terminal, watch it through a storm, end it after so many cuts; return the viewer."""
    session = await service.create_session(command=[sys.executable, str(PROGRAM), str(seed), str(RATE)])
    session_id = session["session_id"]
    async with (
        ChaosProxy(service.address, Plan(seed, STORM)) as proxy,
        service.client(session_id, client_id="calm") as calm,
        service.client(
            session_id, via=(proxy.host, proxy.port), encoding=encoding, silence_seconds=0.5, acks=seed % 2 == 0
        ) as client,
    ):
        await client.wait(lambda: proxy.statistics.cuts >= cuts, f"{cuts} cuts", seconds=3600)
        # Where it reconnects more slowly than the program prints, it is far behind by now: a lull, to catch up.
        proxy.plan = Plan(seed)
        await client.wait(lambda: client.position > calm.position - RATE // 10, "the head", seconds=60)
        proxy.plan = Plan(seed, STORM)
        proxy.cut_all(End.RST)
        client.send_input(b"q")
        ended = await client.wait_ended(seconds=60)
        assert (await calm.wait_ended())["exit_code"] == ended["exit_code"] == EXIT_CODE
    verify(client.data, seed)
    assert_same(calm.data, client.data, "the calm viewer")
    assert_same(await service.output(session_id), client.data, "the output over HTTP")
    assert client.transcript.start == 0
    assert client.transcript.gaps == calm.transcript.gaps == []
    return client


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_every_byte_of_output_arrives_once_and_in_order_across_cuts(
    tmp_path: Path, size: Callable[[int, int], int], rng: random.Random
) -> None:
    cuts = size(1_000, 10_000)
    encodings = ["msgpack", "json", "raw", "plain"] * (TERMINALS // 4)
    async with (
        Service(tmp_path, RETENTION_BYTES=str(RETENTION)) as service,
        asyncio.TaskGroup() as tasks,
    ):
        watching = [
            tasks.create_task(watch_through_storm(service, rng.getrandbits(30), encoding, -(-cuts // TERMINALS)))
            for encoding in encodings
        ]
    clients = [task.result() for task in watching]
    # `data` is a copy of everything: taken once for each client, not once for each position.
    resumed = [(data, at) for client in clients for data in [client.data] for at in client.transcript.resumed]
    # The storm was one: cuts met replays, and resumed inside of characters and escapes.
    assert len(resumed) > cuts // 4
    assert sum(client.transcript.replays_cut for client in clients) > cuts // 50
    assert any(is_inside_character(data, position) for data, position in resumed)
    assert any(is_inside_escape(data, position) for data, position in resumed)


async def cut_three_times(service: Service, session_id: str, count: int) -> None:
    """Cut a client's connections after `count` bytes, three times, and compare what it holds then."""
    plan = Plan(count, Storm(fin_share=1, cut_bytes=(count, count), cut_up_share=0))
    async with ChaosProxy(service.address, plan) as proxy:
        client = service.client(session_id, via=(proxy.host, proxy.port))
        running = asyncio.create_task(client.run())
        await client.wait(lambda: proxy.statistics.cuts >= 3, "three cuts")
        running.cancel()
        await asyncio.wait([running])
    assert_same(client.data, (await service.output(session_id))[: len(client.data)])


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_a_cut_at_any_byte_of_the_handshake_and_the_replay_loses_nothing(
    tmp_path: Path, size: Callable[[int, int], int]
) -> None:
    step = size(37, 3)
    async with Service(tmp_path) as service:
        session = await service.create_session(command=[sys.executable, str(PROGRAM), "4", "20000"])
        session_id = session["session_id"]
        for count in range(1, 2_000, step):
            await cut_three_times(service, session_id, count)
        await service.delete(session_id)


async def test_last_sequence_continues_where_the_server_delivered_to(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session = await service.create_session(command=["sh", "-c", "stty raw -echo; printf READY; exec cat"])
        session_id = session["session_id"]
        async with service.client(session_id, client_id="me", acks=True) as client:
            await client.wait_for_output(b"READY")
            client.send_input(b"first")
            await client.wait_for_output(b"first")
            await client.detach()
        async with service.client(session_id, client_id="other") as other:
            other.send_input(b"second")
            await other.wait_for_output(b"second")
        async with service.client(session_id, client_id="me", recover_from="last_sequence") as client:
            await client.wait_for_output(b"second")
            assert client.transcript.start >= len(b"READY")
            assert client.data == b"READYfirstsecond"[client.transcript.start :]


async def test_a_second_connection_of_a_client_takes_over_without_loss(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session = await service.create_session(command=[sys.executable, str(PROGRAM), "9", "50000"])
        session_id = session["session_id"]
        async with service.client(session_id, client_id="me") as old:
            await old.wait(lambda: old.position > 5_000, "output")
            async with service.client(session_id, client_id="me", recover_from=old.position) as new:
                await old.wait_over()
                assert old.close_codes[-1][0] == 4409
                new.send_input(b"q")
                await new.wait_ended()
    start = new.transcript.start
    assert old.position >= start
    verify(old.data[:start] + new.data, 9)
