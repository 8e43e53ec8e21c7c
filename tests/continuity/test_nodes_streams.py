"""C1 and C2 with many nodes: every byte once and in order, whichever node each connection comes to."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from support.fleet import Fleet, output_of, stream_command
from support.keystrokes import ECHO, type_until
from support.redis_kinds import serving
from support.same import assert_same
from support.stream import EXIT_CODE, verify
from support.weather import End, Plan, Storm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.client import Client
    from support.service import Service

RETENTION = 64 << 20  # the full size prints more than the default keeps
RATE = 60_000
OUTPUT_STORM = Storm(
    fin_share=0.48,  # with the next two: 1, every connection is cut
    rst_share=0.5,
    freeze_share=0.02,
    cut_bytes=(150, 10_000),
    cut_up_share=0.1,
    cut_up_bytes=(1, 600),
    freeze_seconds=0.6,
    fragment_share=0.2,
    stall_share=0.05,
)
INPUT_STORM = Storm(
    fin_share=0.48,
    rst_share=0.5,
    freeze_share=0.02,
    cut_up_share=0.7,
    cut_up_bytes=(300, 8_000),
    cut_bytes=(200, 8_000),
    freeze_seconds=0.6,
    fragment_share=0.2,
)
KINDS = ("redis-7", "valkey-9", "redis-6.2", "cluster", "sentinel")


async def watch_through_storm(fleet: Fleet, node: Service, seed: int, encoding: str, cuts: int) -> Client:
    """Run a program on a node, watch it through a storm from any of them, end it; return the viewer."""
    session_id = (await node.create_session(command=stream_command(seed, RATE)))["session_id"]
    dice = random.Random(seed)
    async with (
        fleet.entrance(Plan(seed, OUTPUT_STORM), dice=dice) as proxy,
        dice.choice(fleet.nodes).client(session_id, client_id="calm") as calm,
        node.client(
            session_id, via=(proxy.host, proxy.port), encoding=encoding, silence_seconds=0.7, acks=seed % 2 == 0
        ) as client,
    ):
        await client.wait(lambda: proxy.statistics.cuts >= cuts, f"{cuts} cuts", seconds=3600)
        proxy.plan = Plan(seed)  # a lull, to catch up
        await client.wait(lambda: client.position > calm.position - RATE // 10, "the head", seconds=60)
        proxy.plan = Plan(seed, OUTPUT_STORM)
        proxy.cut_all(End.RST)
        client.send_input(b"q")
        ended = await client.wait_ended(seconds=60)
        assert (await calm.wait_ended())["exit_code"] == ended["exit_code"] == EXIT_CODE
    verify(client.data, seed)
    assert_same(calm.data, client.data, "the calm viewer")
    assert client.transcript.start == 0
    assert client.transcript.gaps == calm.transcript.gaps == []
    for each in fleet.nodes:
        assert_same(await each.output(session_id), client.data, "the output over HTTP")
    return client


async def type_through_storm(fleet: Fleet, node: Service, seed: int, encoding: str, cuts: int) -> None:
    """Type numbered input to a program on a node, through a storm, at any of them, until so many cuts have happened."""
    session_id = (await node.create_session(command=ECHO))["session_id"]
    async with (
        fleet.entrance(Plan(seed, INPUT_STORM), dice=random.Random(seed)) as proxy,
        node.client(session_id, via=(proxy.host, proxy.port), encoding=encoding, silence_seconds=0.7) as client,
    ):
        sent, _ = await type_until(client, lambda: proxy.statistics.cuts >= cuts, seed)
    assert_same(client.data, sent, "the echo")
    assert client.transcript.gaps == []
    for each in fleet.nodes:
        assert_same(await output_of(each, session_id, len(sent)), sent, "the output")


@pytest.mark.full
@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
async def test_output_and_input_come_once_and_in_order_at_whichever_node(
    kind: str, tmp_path: Path, size: Callable[[int, int], int], rng: random.Random
) -> None:
    """Each connection comes to a node by chance; half of the programs run on each."""
    is_main = kind == "redis-7"
    output_cuts = size(100, 10_000) if is_main else size(20, 1_000)
    input_cuts = size(100, 5_000) if is_main else size(20, 500)
    with serving(kind, tmp_path) as redis:
        async with Fleet(tmp_path, redis.url, RETENTION_BYTES=str(RETENTION)) as fleet, asyncio.TaskGroup() as tasks:
            encodings = ["msgpack", "json", "raw", "plain"] if is_main else ["msgpack", "json"]
            for number, encoding in enumerate(encodings):
                node = fleet.nodes[number % len(fleet.nodes)]
                seed = rng.getrandbits(30) | 1
                share = -(-output_cuts // len(encodings))
                tasks.create_task(watch_through_storm(fleet, node, seed, encoding, share), name="watch")
                share = -(-input_cuts // len(encodings))
                if encoding != "plain":
                    tasks.create_task(type_through_storm(fleet, node, seed, encoding, share), name="type")
