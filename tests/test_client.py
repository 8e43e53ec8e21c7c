"""The reference client finds every deviation, and neither loses nor doubles anything by itself."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from support.chaos import ChaosProxy
from support.client import Client
from support.transcript import Deviation, Gap, Request, Transcript
from support.weather import Plan, Storm

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.speech import Message


def attached(seq: int = 0, head: int = 0, **more: Any) -> Message:
    return {
        "type": "attached",
        "session_id": "s",
        "terminal_id": "t",
        "client_id": "c",
        "role": "owner",
        "mode": "exact",
        "recover": "exact",
        "seq": seq,
        "head": head,
        "first": 0,
        "epoch": "e",
        "rows": 24,
        "cols": 80,
        "window": 65536,
        "heartbeat_interval": 60.0,
        "input_n": 0,
        **more,
    }


def output(data: bytes, seq: int, *, replay: bool = False) -> Message:
    return {"type": "output", "data": data, "seq": seq, "timestamp": 1.0, "replay": replay}


def replay_end(seq: int, data: bytes = b"") -> Message:
    return {"type": "replay_end", "seq": seq, "sha256": hashlib.sha256(data).hexdigest()}


def gap(first: int, last: int, lost_bytes: int | None = None) -> Message:
    lost = last - first if lost_bytes is None else lost_bytes
    return {"type": "gap", "first": first, "last": last, "lost_bytes": lost, "reason": "trimmed"}


END = {"type": "session_ended", "reason": "x", "exit_code": 0, "signal": None, "pid": 1, "timestamp": 1.0}


def told(*messages: Message, position: int | str | None = 0) -> Transcript:
    transcript = Transcript()
    transcript.ask(Request("s", "c", position, None))
    for message in messages:
        transcript.take(message)
    return transcript


def test_a_replay_and_what_follows_are_kept_with_their_positions() -> None:
    transcript = told(
        attached(2, 5), output(b"cde", 5, replay=True), replay_end(5, b"cde"), output(b"fg", 7), END, position=2
    )
    assert (transcript.start, bytes(transcript.data), transcript.position) == (2, b"cdefg", 7)


def test_a_told_gap_is_kept_and_what_was_before_it_too() -> None:
    transcript = told(attached(), replay_end(0), output(b"ab", 2), gap(2, 9), output(b"jk", 11))
    assert transcript.gaps == [Gap(2, 9, "trimmed")]
    assert transcript.past == [(0, b"ab")]
    assert (transcript.start, bytes(transcript.data)) == (9, b"jk")


@pytest.mark.parametrize(
    ("messages", "finding"),
    [
        ([output(b"a", 1)], "before or as a second"),
        ([attached(), attached()], "before or as a second"),
        ([attached(session_id="x")], "attached to x"),
        ([attached(client_id="x")], "attached as x"),
        ([attached(1, 1)], "exact at 1"),
        ([attached(0, 1, first=1)], "outside"),
        ([attached(recover="tail")], "tail"),
        ([attached(3, 3, recover="gap", lost_bytes=2)], "really 3"),
        ([attached(), replay_end(0), output(b"ab", 3)], "ends at 3, was at 0"),
        ([attached(), replay_end(0), output(b"ab", 1)], "ends at 1, was at 0"),
        ([attached(), replay_end(0), output(b"", 0)], "empty"),
        ([attached(), output(b"a", 1)], "before replay_end"),
        ([attached(), replay_end(0), output(b"a", 1, replay=True)], "replay is True"),
        ([attached(0, 1), output(b"a", 1)], "replay is False"),
        ([attached(0, 1), output(b"a", 1, replay=True), replay_end(1, b"b")], "another sha256"),
        ([attached(0, 2), output(b"a", 1, replay=True), replay_end(1, b"a")], "before the end"),
        ([attached(), replay_end(0), replay_end(0)], "second replay_end"),
        ([attached(), replay_end(0), gap(1, 2)], "gap from 1"),
        ([attached(), replay_end(0), gap(0, 2, 1)], "really 2"),
        ([attached(), replay_end(0), END, output(b"a", 1)], "after session_ended"),
        ([attached(), {"type": "surprise"}], "unknown type"),
        ([attached(), {"type": "input_ack"}], "lacks"),
    ],
)
def test_every_deviation_is_found(messages: list[Message], finding: str) -> None:
    with pytest.raises(Deviation, match=finding):
        told(*messages)


class Script:
    """A small honest server: one log, which echoes input, each number once."""

    def __init__(self) -> None:
        self.log = bytearray()
        self.taken = 0
        self.lies = False  # acknowledges what was never sent
        self.grew = asyncio.Condition()
        self.url = ""

    async def serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        start, head = int(query["recover_from"][0]), len(self.log)
        greeting = attached(start, head, client_id=query["client_id"][0], input_n=self.taken)
        replay = bytes(self.log[start:head])
        with contextlib.suppress(ConnectionClosed):
            for message in (
                greeting,
                *([output(replay, head, replay=True)] if replay else []),
                replay_end(head, replay),
            ):
                await connection.send(msgspec.msgpack.encode(message))
            async with asyncio.TaskGroup() as tasks:
                live = tasks.create_task(self.send_live(connection, head))
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await self.take(connection, msgspec.msgpack.decode(await connection.recv(decode=False)))
                live.cancel()

    async def send_live(self, connection: ServerConnection, position: int) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                async with self.grew:
                    while len(self.log) == position:
                        await self.grew.wait()
                data = bytes(self.log[position:])
                position += len(data)
                await connection.send(msgspec.msgpack.encode(output(data, position)))

    async def take(self, connection: ServerConnection, message: Message) -> None:
        if message["type"] != "input":
            return
        if message["n"] > self.taken:
            assert message["n"] == self.taken + 1
            self.taken = message["n"]
            async with self.grew:
                self.log += message["data"]
                self.grew.notify_all()
        with contextlib.suppress(ConnectionClosed):
            await connection.send(msgspec.msgpack.encode({"type": "input_ack", "n": 7 if self.lies else self.taken}))


@contextlib.asynccontextmanager
async def script() -> AsyncIterator[tuple[Script, tuple[str, int]]]:
    it = Script()
    async with serve(it.serve, "127.0.0.1", 0, subprotocols=[Subprotocol("terminal.v1.msgpack")]) as server:
        yield it, next(iter(server.sockets)).getsockname()[:2]


async def test_input_and_output_survive_a_storm_once_and_in_order() -> None:
    storm = Storm(
        fin_share=0.5,
        freeze_share=0.1,
        freeze_seconds=0.5,
        cut_bytes=(200, 4000),
        cut_up_bytes=(200, 2000),
        fragment_share=0.3,
    )
    lines = [f"line {number}\n".encode() for number in range(500)]
    async with script() as (server, address), ChaosProxy(address, Plan(5, storm)) as proxy:
        url = f"http://{proxy.host}:{proxy.port}"
        async with Client(url, "s", silence_seconds=0.3) as client:
            for line in lines:
                client.send_input(line)
                await client.wait(lambda: client.unacked < 5, "room")
            await client.wait_acked()
            await client.wait(lambda: client.position == len(server.log), "all output")
    assert client.data == bytes(server.log) == b"".join(lines)
    assert proxy.statistics.cuts > 10
    assert client.attaches > 10


async def type_and_wait(url: str, client_id: str, *, output: bytes | None) -> None:
    async with Client(url, "s", client_id=client_id) as client:
        client.send_input(b"x")
        if output is None:
            await client.wait_over()
        else:
            await client.wait_for_output(output)


async def test_a_deviation_fails_who_waits_and_who_leaves() -> None:
    async with script() as (server, address):
        server.lies = True
        with pytest.raises(Deviation, match="input_ack 7"):
            await type_and_wait(f"http://127.0.0.1:{address[1]}", "one", output=b"no")
        with pytest.raises(Deviation, match="input_ack 7"):
            await type_and_wait(f"http://127.0.0.1:{address[1]}", "other", output=None)


async def test_a_condition_that_never_holds_fails_with_its_name() -> None:
    async with script() as (_, address), Client(f"http://127.0.0.1:{address[1]}", "s") as client:
        with pytest.raises(AssertionError, match="the moon"):
            await client.wait(lambda: False, "the moon", seconds=0.05)
