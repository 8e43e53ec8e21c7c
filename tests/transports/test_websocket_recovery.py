"""Where a viewer begins: exact positions, the recent tail, told gaps; and how the replay is marked."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.stream import stream
from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
SEED = 5
KIB = 1024
ALTERNATE = r"printf '\033[?1049h\033[?25l\033[31mFULL SCREEN'; exec sleep 600"


async def printed(service: SharedService, size: int, **fields: object) -> tuple[str, bytes]:
    """Open a session whose program has printed at least `size` bytes and is quiet; return its id and output."""
    content = service.log_path.with_name(f"{size}.bytes")
    content.write_bytes(stream(SEED, size))
    script = 'stty raw; cat "$0"; exec sleep 600'
    view = await service.create_session(command=["sh", "-c", script, str(content)], **fields)
    session = str(view["session_id"])

    async with Talk(service, session, encoding="msgpack", tail_bytes=0) as talk:
        await talk.until(lambda: talk.messages and talk.seq == size, f"{size} bytes")
    return session, stream(SEED, size)


async def replayed(talk: Talk) -> dict[str, Any]:
    """Receive to the end of the replay, check what it says of itself, and return `attached`."""
    end = await talk.hear("replay_end")
    assert end["sha256"] == hashlib.sha256(talk.data).hexdigest()
    assert end["seq"] == talk.seq == talk.one("attached")["head"]
    assert all(output["replay"] is True for output in talk.all("output"))
    return talk.one("attached")


@pytest.mark.parametrize("encoding", ["plain", "msgpack"])
async def test_an_exact_position_is_continued_exactly(service: SharedService, encoding: str) -> None:
    session, whole = await printed(service, 200 * KIB)
    for position in (0, 1, 65_537, len(whole) - 1, len(whole)):
        async with Talk(service, session, encoding=encoding, recover_from=position) as talk:
            attached = await replayed(talk)
            assert (attached["recover"], attached["seq"], attached["head"]) == ("exact", position, len(whole))
            assert talk.data == whole[position:]


async def test_a_position_in_the_middle_of_a_running_stream_is_continued_exactly(service: SharedService) -> None:
    command = [sys.executable, str(PROGRAM), str(SEED), "2000000"]
    session = (await service.create_session(command=command))["session_id"]
    held = bytearray()
    for _ in range(8):
        async with Talk(service, session, encoding="msgpack", recover_from=len(held)) as talk:
            attached = await talk.hear("attached")
            assert (attached["recover"], attached["seq"]) == ("exact", len(held))
            await talk.output(rb".{30000}")
            assert talk.seq == len(held) + len(talk.data)
            replays = [output["replay"] for output in talk.all("output")]
            assert replays == sorted(replays, reverse=True), "replay first, then live"
            held += talk.data
    assert held == stream(SEED, len(held))


async def test_live_output_is_not_marked_as_replay(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    async with Talk(service, session, recover_from=0) as talk:
        end = await talk.hear("replay_end")
        assert (end["seq"], end["sha256"]) == (0, hashlib.sha256().hexdigest())
        await talk.type("x\n")
        await talk.output(rb"x\r\nx\r\n")
        assert {output["replay"] for output in talk.all("output")} == {False}
        assert len(talk.all("replay_end")) == 1


async def test_without_a_position_comes_the_recent_tail_from_the_start_of_a_line(service: SharedService) -> None:
    script = 'i=0; while [ $i -lt 2000 ]; do echo "line $i of many"; i=$((i+1)); done; exec sleep 600'
    session = (await service.create_session(command=["sh", "-c", script]))["session_id"]
    async with Talk(service, session, recover_from=0) as talk:
        await talk.output(rb"line 1999 of many\r\n")
        whole = bytes(talk.data)
    async with Talk(service, session, tail_bytes=1000) as talk:
        attached = await replayed(talk)
        assert attached["recover"] == "tail"
        assert len(whole) - 1000 <= attached["seq"] < len(whole) - 900
        assert talk.data == whole[attached["seq"] :]
        assert talk.data.startswith(b"line ")
    async with Talk(service, session, tail_bytes=10**12) as talk:
        await replayed(talk)
        assert talk.data == whole
    for none in ("0", "00"):
        async with Talk(service, session, tail_bytes=none) as talk:
            attached = await replayed(talk)
            assert (attached["recover"], attached["seq"]) == ("tail", len(whole))
            assert talk.data == b""


async def test_the_default_tail_is_bounded(service: SharedService) -> None:
    session, whole = await printed(service, 600 * KIB)
    async with Talk(service, session, encoding="msgpack") as talk:
        attached = await replayed(talk)
        assert attached["recover"] == "tail"
        assert 250 * KIB < len(talk.data) <= 256 * KIB
        assert whole.endswith(talk.data)


@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack"])
async def test_the_tail_of_a_full_screen_program_comes_behind_its_modes(service: SharedService, encoding: str) -> None:
    session = (await service.create_session(command=["sh", "-c", ALTERNATE]))["session_id"]
    async with Talk(service, session, encoding=encoding, recover_from=0) as talk:
        await talk.output(rb"FULL SCREEN")
        assert "preamble" not in talk.one("attached"), "who has every byte needs none"
        head = talk.seq
    async with Talk(service, session, encoding=encoding, tail_bytes=4) as talk:
        attached = await replayed(talk)
        assert (attached["recover"], attached["seq"]) == ("tail", head - 4)
        for mode in (b"\x1b[?1049h", b"\x1b[?25l", b"\x1b[31m"):
            assert mode in attached["preamble"]
        assert talk.data == b"REEN"


async def test_a_full_screen_program_is_made_to_repaint_for_who_joins_late(service: SharedService) -> None:
    program = "trap 'printf PAINT' WINCH; printf '\\033[?1049hSCREEN'; while :; do sleep 0.05; done"
    session = (await service.create_session(command=["sh", "-c", program], rows=24))["session_id"]
    async with Talk(service, session, recover_from=0) as first:
        await first.output(rb"SCREEN")
        async with Talk(service, session, tail_bytes=0) as late:
            await late.output(rb"PAINT")
        await first.output(rb"PAINT")
        resizes = [(resize["rows"], resize["cols"]) for resize in first.all("resize")]
        assert set(resizes) == {(24, 80)}, "the nudge is no change of size"


async def test_another_epoch_is_a_gap_from_the_oldest_byte(service: SharedService) -> None:
    session, whole = await printed(service, 1000)
    async with Talk(service, session, recover_from=500) as talk:
        epoch = (await replayed(talk))["epoch"]
    async with Talk(service, session, recover_from=500, epoch=epoch) as talk:
        assert (await replayed(talk))["recover"] == "exact"
    for position in (500, 10**6):  # a position of another log may well be beyond this one's end
        async with Talk(service, session, recover_from=position, epoch="another") as talk:
            attached = await replayed(talk)
            assert (attached["recover"], attached["seq"], attached["epoch"]) == ("gap", 0, epoch)
            assert talk.data == whole


@pytest.mark.parametrize("encoding", ["plain", "msgpack"])
async def test_what_is_no_longer_kept_is_told_with_its_size(service: SharedService, encoding: str) -> None:
    session, whole = await printed(service, 300 * KIB, retention_bytes=64 * KIB)
    async with Talk(service, session, encoding=encoding, recover_from=1000) as talk:
        attached = await replayed(talk)
        assert attached["recover"] == "gap"
        assert attached["first"] == attached["seq"] == len(whole) - 64 * KIB
        assert attached["lost_bytes"] == attached["seq"] - 1000
        assert talk.data == whole[attached["seq"] :]


async def test_last_sequence_continues_where_this_client_left(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    async with Talk(service, session, client_id="a", recover_from="last_sequence") as talk:
        assert (await talk.hear("attached"))["recover"] == "exact", "nothing was printed yet"
        await talk.type("one\n")
        await talk.output(rb"one\r\none\r\n")
        left = talk.seq
    async with Talk(service, session, recover_from=left) as other:
        await other.type("two\n")
        await other.output(rb"two\r\ntwo\r\n")
        head = other.seq
    async with Talk(service, session, client_id="a", recover_from="last_sequence") as talk:
        attached = await replayed(talk)
        assert (attached["recover"], attached["seq"]) == ("exact", left)
        assert talk.data == b"two\r\ntwo\r\n"
    async with Talk(service, session, client_id="a", recover_from="last_sequence") as talk:
        attached = await replayed(talk)
        assert (attached["recover"], attached["seq"], len(talk.data)) == ("exact", head, 0)


async def test_last_sequence_counts_what_was_acknowledged_by_who_acknowledges(service: SharedService) -> None:
    session, whole = await printed(service, 10_000)
    async with Talk(service, session, client_id="a", recover_from=0) as talk:
        await replayed(talk)
        await talk.send("ack", seq=4_000)
        await talk.echoed()
    async with Talk(service, session, client_id="a", recover_from="last_sequence") as talk:
        attached = await replayed(talk)
        assert (attached["recover"], attached["seq"]) == ("exact", 4_000)
        assert talk.data == whole[4_000:]


@pytest.mark.parametrize("known", [False, True])
async def test_last_sequence_of_nobody_known_is_everything_kept(service: SharedService, *, known: bool) -> None:
    session, whole = await printed(service, 100 * KIB, retention_bytes=64 * KIB)
    query: dict[str, Any] = {"client_id": "new"} if known else {}
    async with Talk(service, session, encoding="msgpack", recover_from="last_sequence", **query) as talk:
        attached = await replayed(talk)
        assert (attached["recover"], attached["lost_bytes"]) == ("gap", 36 * KIB)
        assert talk.data == whole[36 * KIB :]
