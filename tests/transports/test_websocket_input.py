"""Keystrokes: numbered once and in order, an interrupt that waits for nothing, a paste that arrives whole."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import pytest

from support.talk import Talk

if TYPE_CHECKING:
    import random

    from support.shared import SharedService

KIB = 1024
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


async def digesting(service: SharedService, size: int) -> str:
    """Open a session whose program reads `size` bytes in raw mode and prints their SHA-256."""
    return str((await service.create_session(command=[sys.executable, "-c", DIGEST, str(size)]))["session_id"])


@pytest.fixture
async def session(service: SharedService) -> str:
    return str((await service.create_session(command=["cat"]))["session_id"])


@pytest.mark.parametrize("encoding", ["plain", "json", "msgpack", "raw"])
async def test_each_number_is_written_once_and_acknowledged(
    service: SharedService, session: str, encoding: str
) -> None:
    async with Talk(service, session, encoding=encoding, control=1, recover_from=0) as talk:
        for number in (1, 2, 2, 1, 3, 3):
            await talk.type(f"{number}\n", n=number)
        await talk.until(lambda: len(talk.all("input_ack")) == 6, "six acknowledgements")
        assert [ack["n"] for ack in talk.all("input_ack")] == [1, 2, 2, 2, 3, 3]
        await talk.type("end\n", n=4)
        await talk.output(rb"end\r\n.*end\r\n")
        written = talk.data.replace(b"\r", b"").split()
        assert sorted(written) == [b"1", b"1", b"2", b"2", b"3", b"3", b"end", b"end"], "each once, and its echo"
        assert not talk.all("error")


async def test_a_number_out_of_order_is_told_what_was_expected_and_not_written(
    service: SharedService, session: str
) -> None:
    async with Talk(service, session, recover_from=0) as talk:
        await talk.type("one\n", n=1)
        await talk.type("three\n", n=3)
        error = await talk.hear("error")
        assert (error["code"], error["expected"]) == ("input_out_of_order", 2)
        await talk.type("two\n", n=2)
        await talk.type("three\n", n=3)
        await talk.output(rb"three\r\n.*three")
        await talk.until(lambda: talk.all("input_ack")[-1]["n"] == 3, "the last acknowledgement")
        assert talk.data.count(b"three") == 2
        assert talk.data.index(b"two") < talk.data.index(b"three")


async def test_numbers_go_on_after_a_reconnect_and_what_was_resent_is_not_written_again(
    service: SharedService, session: str
) -> None:
    async with Talk(service, session, client_id="a", recover_from=0) as talk:
        assert (await talk.hear("attached"))["input_n"] == 0
        await talk.type("one\n", n=1)
        await talk.output(rb"one\r\none\r\n")
        talk.connection.transport.abort()
    async with Talk(service, session, client_id="a", recover_from=0) as talk:
        assert (await talk.hear("attached"))["input_n"] == 1
        await talk.type("one\n", n=1)  # its acknowledgement was lost, for all this client knows
        assert (await talk.hear("input_ack"))["n"] == 1
        await talk.type("two\n", n=2)
        await talk.output(rb"two\r\ntwo\r\n")
        assert talk.data == b"one\r\none\r\ntwo\r\ntwo\r\n"


async def test_every_client_has_numbers_of_its_own(service: SharedService, session: str) -> None:
    async with Talk(service, session, client_id="a") as one, Talk(service, session, client_id="b") as two:
        for talk in (one, two):
            await talk.type("x\n", n=1)
            assert (await talk.hear("input_ack"))["n"] == 1
        assert len(one.all("input_ack")) == 1


async def test_input_the_program_does_not_read_is_acknowledged_only_when_it_was_written(
    service: SharedService,
) -> None:
    script = "exec 2>/dev/null; stty raw -echo; trap 'exec cat' USR1; printf READY; while :; do sleep 0.1; done"
    view = await service.create_session(command=["bash", "-c", script])
    async with Talk(service, view["session_id"], recover_from=0) as talk:
        await talk.output(rb"READY")
        for number in range(1, 5):
            await talk.type(bytes([64 + number]) * 32 * KIB, n=number)
        await talk.echoed()
        held = [ack["n"] for ack in talk.all("input_ack")]
        assert 4 not in held
        await talk.send("signal", name="USR1")
        await talk.until(lambda: 4 in [ack["n"] for ack in talk.all("input_ack")], "the last acknowledgement")
        whole = b"READY" + b"".join(bytes([64 + number]) * 32 * KIB for number in range(1, 5))
        await talk.until(lambda: len(talk.data) >= len(whole), "the echo of cat")
        assert talk.data == whole


@pytest.mark.parametrize("kib", [2, 4, 6, 8, 10, 16, 200, 1024])
@pytest.mark.parametrize("encoding", ["plain", "msgpack", "raw"])
async def test_ctrl_c_behind_a_paste_that_nobody_reads_acts_at_once(
    service: SharedService, encoding: str, kib: int
) -> None:
    view = await service.create_session(command=["sh", "-c", "printf READY; exec sleep 600"])
    async with Talk(service, view["session_id"], encoding=encoding, control=1, recover_from=0) as talk:
        await talk.output(rb"READY")
        piece = b"a line of sixty-four bytes, with its end, pasted, and not read.\n" * 32
        for number in range(1, kib // 2 + 1):
            await talk.type(piece, n=number)
        await talk.type(b"\x03", n=kib // 2 + 1)
        ended = await talk.hear("session_ended", signal="SIGINT")
        assert ended["exit_code"] is None
        assert talk.all("input_ack")[-1]["n"] == kib // 2 + 1, "nothing is left to send again"
        for error in talk.all("error"):
            assert error["code"] == "input_discarded"
            assert 0 < int(error["error"].split()[1]) <= kib * KIB
        assert bool(talk.all("error")) or kib < 16  # what the system's own buffers hold goes as at any terminal


async def test_a_shell_is_usable_after_an_interrupted_paste(service: SharedService) -> None:
    view = await service.create_session(command=["bash", "--norc", "--noprofile"], env={"PS1": "ready> "})
    async with Talk(service, view["session_id"], recover_from=0) as talk:
        await talk.output(rb"ready> ")
        await talk.type("sh -c 'printf fore; printf ground; exec sleep 600'\n")
        await talk.output(rb"foreground")
        await talk.type(b"echo pasted\n" * 50_000)
        await talk.type(b"\x03")
        await talk.hear("error", code="input_discarded")
        here = len(talk.data)
        await talk.output(rb"ready> ", since=here - 16)
        await talk.type("echo al''ive\n")
        await talk.output(rb"alive", since=here)


async def test_ctrl_c_is_a_byte_like_any_other_to_a_program_in_raw_mode(service: SharedService) -> None:
    session = await digesting(service, 100 * KIB + 1)
    async with Talk(service, session, encoding="msgpack", recover_from=0) as talk:
        await talk.output(rb"READY")
        data = b"x" * 100 * KIB
        await talk.type(data)
        await talk.type(b"\x03")
        await talk.output(b"<" + hashlib.sha256(data + b"\x03").hexdigest().encode() + b">")
        assert not talk.all("error")


@pytest.mark.parametrize("message_bytes", [64 * KIB, 700 * KIB])
@pytest.mark.parametrize("encoding", ["plain", "msgpack", "raw"])
async def test_a_paste_of_a_mebibyte_arrives_whole(
    service: SharedService, encoding: str, message_bytes: int, rng: random.Random
) -> None:
    data = rng.randbytes(1 << 20)
    session = await digesting(service, len(data))
    async with Talk(service, session, encoding=encoding, control=1, recover_from=0) as talk:
        await talk.output(rb"READY")
        starts = range(0, len(data), message_bytes)
        for number, start in enumerate(starts, 1):
            await talk.type(data[start : start + message_bytes], n=number)
        await talk.output(b"<" + hashlib.sha256(data).hexdigest().encode() + b">")
        assert talk.all("input_ack")[-1]["n"] == len(starts)


async def test_two_who_paste_at_once_both_arrive_whole(service: SharedService) -> None:
    session = await digesting(service, 2 * 400 * KIB)
    async with (
        Talk(service, session, encoding="msgpack", recover_from=0) as one,
        Talk(service, session, encoding="msgpack", recover_from=0) as two,
    ):
        await one.output(rb"READY")
        for number in range(1, 26):
            await one.type(b"x" * 16 * KIB, n=number)
            await two.type(b"x" * 16 * KIB, n=number)
        expected = hashlib.sha256(b"x" * 2 * 400 * KIB).hexdigest().encode()
        for talk in (one, two):
            await talk.output(b"<" + expected + b">")
            assert talk.all("input_ack")[-1]["n"] == 25


async def test_input_to_a_session_that_has_ended_is_told(service: SharedService) -> None:
    view = await service.create_session(command=["sh", "-c", "read line; exit 3"])
    async with Talk(service, view["session_id"], mode="frozen") as talk:  # frozen: it stays beyond the end
        await talk.type("go\n", n=1)
        assert (await talk.hear("input_ack"))["n"] == 1
        async with Talk(service, view["session_id"]) as other:
            await other.closed()
        await talk.type("too late\n", n=2)
        assert (await talk.hear("error"))["code"] == "session_over"
        await talk.send("mode", mode="exact")
        assert (await talk.hear("session_ended"))["exit_code"] == 3
