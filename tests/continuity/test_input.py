"""C2: every keystroke is written once and in order, whatever happens to the connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from support.chaos import ChaosProxy
from support.keystrokes import ECHO, type_until
from support.same import assert_same
from support.service import Service
from support.weather import Plan, Storm

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

TERMINALS = 6
STORM = Storm(
    fin_share=0.48,  # with the next two: 1, every connection is cut
    rst_share=0.5,
    freeze_share=0.02,
    cut_up_share=0.7,
    cut_up_bytes=(300, 8_000),  # the handshake is the first 400 or so
    cut_bytes=(200, 8_000),
    freeze_seconds=0.6,
    fragment_share=0.2,
)


async def type_through_storm(service: Service, seed: int, encoding: str, cuts: int) -> int:
    """Type numbered input through a storm until so many cuts have happened; return how many inputs that took."""
    session_id = (await service.create_session(command=ECHO))["session_id"]
    async with (
        ChaosProxy(service.address, Plan(seed, STORM)) as proxy,
        service.client(session_id, via=(proxy.host, proxy.port), encoding=encoding, silence_seconds=0.5) as client,
    ):
        sent, number = await type_until(client, lambda: proxy.statistics.cuts >= cuts, seed)
    assert_same(client.data, sent, "the echo")
    assert_same(await service.output(session_id), sent, "the output")
    assert client.transcript.gaps == []
    await service.delete(session_id)
    return number


@pytest.mark.full
@pytest.mark.timeout(240)
async def test_every_keystroke_is_written_once_and_in_order_across_cuts(
    tmp_path: Path, size: Callable[[int, int], int], rng: random.Random
) -> None:
    cuts = size(500, 5_000)
    encodings = ["msgpack", "json", "raw"] * (TERMINALS // 3)
    async with Service(tmp_path) as service, asyncio.TaskGroup() as tasks:
        for encoding in encodings:
            seed = rng.getrandbits(30) | 1
            tasks.create_task(type_through_storm(service, seed, encoding, -(-cuts // TERMINALS)))


async def test_two_clients_typing_keep_their_own_numbers(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session_id = (await service.create_session(command=ECHO))["session_id"]
        async with service.client(session_id) as one, service.client(session_id) as other:
            await one.wait_for_output(b"READY")
            for number in range(50):
                one.send_input(b"a%d," % number)
                other.send_input(b"b%d," % number)
            await one.wait_acked()
            await other.wait_acked()
            await one.wait_for_output(b"a49,")
            await one.wait_for_output(b"b49,")
            echo = one.data.removeprefix(b"READY").rstrip(b",").split(b",")
    assert [word for word in echo if word.startswith(b"a")] == [b"a%d" % number for number in range(50)]
    assert [word for word in echo if word.startswith(b"b")] == [b"b%d" % number for number in range(50)]


async def test_a_client_that_missed_the_acknowledgement_and_the_end_learns_what_was_taken(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session_id = (await service.create_session(command=["sh", "-c", "read line; exit 3"]))["session_id"]
        async with service.client(session_id, client_id="me") as client:
            client.send_line("go")
            assert (await client.wait_ended())["exit_code"] == 3
        async with service.client(session_id, client_id="me") as again:
            await again.wait_ended()
            assert again.attached["input_n"] == 1
