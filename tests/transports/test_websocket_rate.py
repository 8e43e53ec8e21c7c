"""How fast a client may type: beyond the rate it waits, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from typing import TYPE_CHECKING

import pytest

from support.service import Service
from support.talk import Talk

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from support.shared import SharedService

KIB = 1024
RATE, BURST = 512 * KIB, 64 * KIB
SETTINGS = {
    "WEBSOCKET_MAX_MESSAGE_SIZE": str(BURST),
    "INPUT_BURST_BYTES": str(BURST),
    "INPUT_BYTES_PER_SECOND": str(RATE),
    "WEBSOCKET_PING_INTERVAL": "0.2",
}
DIGEST = """
import hashlib, os, sys, tty
tty.setraw(0)
os.write(1, b"READY")
count, left = hashlib.sha256(), int(sys.argv[1])
while left:
    piece = os.read(0, min(left, 65536))
    count.update(piece)
    left -= len(piece)
os.write(1, b"<" + count.hexdigest().encode() + b">")
"""


@pytest.mark.parametrize("encoding", ["plain", "msgpack", "raw"])
async def test_a_paste_beyond_the_rate_waits_and_arrives_whole(
    service: SharedService, encoding: str, rng: random.Random
) -> None:
    data = rng.randbytes(1 << 20)
    session = (await service.create_session(command=[sys.executable, "-c", DIGEST, str(len(data))]))["session_id"]
    async with (
        Talk(service, session, encoding=encoding, control=1, recover_from=0) as talk,
        Talk(service, session, recover_from=0) as other,
    ):
        await talk.output(rb"READY")
        begun = time.monotonic()

        async def paste() -> None:
            for number, start in enumerate(range(0, len(data), 32 * KIB), 1):
                await talk.type(data[start : start + 32 * KIB], n=number)

        pasting = asyncio.create_task(paste())
        await other.echoed()
        answered = time.monotonic() - begun
        await talk.output(b"<" + hashlib.sha256(data).hexdigest().encode() + b">", seconds=20)
        await pasting
        pasted = time.monotonic() - begun
        assert pasted >= (len(data) - BURST) / RATE * 0.9
        assert answered < pasted / 2, "nobody else waits"
        assert talk.all("input_ack")[-1]["n"] == len(data) // (32 * KIB)
        assert not talk.all("error")


async def test_without_a_burst_there_is_no_limit(tmp_path: Path, rng: random.Random) -> None:
    data = rng.randbytes(256 * KIB)
    async with Service(tmp_path, INPUT_BURST_BYTES="0", INPUT_BYTES_PER_SECOND="1") as service:
        command = [sys.executable, "-c", DIGEST, str(len(data))]
        session = (await service.create_session(command=command))["session_id"]
        async with Talk(service, session, encoding="msgpack", recover_from=0) as talk:
            await talk.output(rb"READY")
            await talk.type(data)
            await talk.output(b"<" + hashlib.sha256(data).hexdigest().encode() + b">")
