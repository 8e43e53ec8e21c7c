"""How output reaches a viewer: its window, its mode, what is skipped, and the size it is shown at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.stream import stream
from support.talk import Talk

if TYPE_CHECKING:
    from support.shared import SharedService

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
SEED = 9
KIB = 1024


async def streaming(service: SharedService, rate: int | None = None, **fields: object) -> str:
    """Open a session that prints the stream of SEED, `rate` bytes a second or as fast as it can."""
    command = [sys.executable, str(PROGRAM), str(SEED), *([str(rate)] if rate else [])]
    return str((await service.create_session(command=command, **fields))["session_id"])


@pytest.mark.parametrize("by", ["seq", "bytes"])
@pytest.mark.parametrize("encoding", ["plain", "msgpack"])
async def test_a_client_that_acknowledges_is_never_sent_more_than_its_window(
    service: SharedService, encoding: str, by: str
) -> None:
    session = await streaming(service)
    window = 16 * KIB
    async with Talk(service, session, encoding=encoding, recover_from=0) as talk:
        start = (await talk.hear("attached"))["seq"]
        await talk.send("window_update", window_size=window)
        await talk.send("ack", seq=start)
        await talk.hear("flow_pause")
        acked = talk.seq  # what had been sent before the window held
        await talk.send("ack", **({"seq": acked} if by == "seq" else {"bytes": acked - start}))
        for _ in range(8):
            pause = await talk.hear("flow_pause")
            assert pause["bytes"] == talk.seq - acked == window
            await talk.echoed()
            assert talk.seq - acked == window, "nothing comes until it acknowledges"
            step = 10_000
            acked += step
            await talk.send("ack", **({"seq": acked} if by == "seq" else {"bytes": step}))
            assert (await talk.hear("flow_resume"))["bytes"] == step
        assert talk.data == stream(SEED, len(talk.data))


async def test_a_client_that_does_not_acknowledge_has_no_window(service: SharedService) -> None:
    session = await streaming(service)
    async with Talk(service, session, encoding="msgpack", recover_from=0) as talk:
        await talk.until(lambda: len(talk.data) > 1024 * KIB, "a mebibyte")
        assert not talk.all("flow_pause")


async def test_a_frozen_viewer_misses_nothing_but_the_time(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    async with (
        Talk(service, session, mode="frozen", recover_from=0) as frozen,
        Talk(service, session, recover_from=0) as other,
    ):
        await other.type("while it looks away\n")
        await other.output(rb"away\r\n.*away\r\n")
        await frozen.echoed()
        assert frozen.data == b""
        await frozen.send("mode", mode="exact")
        await frozen.output(rb"away\r\n.*away\r\n")
        assert frozen.data == other.data
        await frozen.send("mode", mode="frozen")
        await frozen.echoed()
        await other.type("again\n")
        await other.output(rb"again\r\nagain\r\n")
        await frozen.echoed()
        assert b"again" not in frozen.data


@pytest.mark.parametrize("encoding", ["plain", "msgpack", "raw"])
async def test_a_live_viewer_that_is_far_behind_skips_ahead_and_is_told_how_far(
    service: SharedService, encoding: str
) -> None:
    session = await streaming(service)
    async with Talk(service, session, encoding=encoding, control=1, recover_from=0) as talk:
        await talk.send("mode", mode="frozen")
        await talk.echoed()
        here = len(talk.data)
        assert talk.data == stream(SEED, here)
        async with Talk(service, session, encoding="msgpack", recover_from=0) as other:
            await other.until(lambda: len(other.data) > here + 1500 * KIB, "a lot of output")
        await talk.send("mode", mode="live")
        gap = await talk.hear("gap")
        assert (gap["reason"], gap["first"]) == ("skipped", here)
        assert gap["lost_bytes"] == gap["last"] - gap["first"] > 1024 * KIB
        behind = len(talk.data)
        await talk.output(rb".{1000}", since=behind)
        assert talk.data == told(talk, start=0)


def told(talk: Talk, *, start: int) -> bytes:
    """Return the parts of the stream that a viewer must hold by what it was told; it may fall behind more than once."""
    parts = []
    position = start
    for message in talk.messages:
        if message["type"] == "gap":
            assert message["first"] == position
            position = message["last"]
        elif message["type"] in {"output", "raw_output"}:
            parts.append(slice(position, position + len(message["data"])))
            position += len(message["data"])
            assert message.get("seq", position) == position
    whole = stream(SEED, position)
    return b"".join(whole[part] for part in parts)


async def test_a_frozen_viewer_is_told_what_was_trimmed_meanwhile(service: SharedService) -> None:
    session = await streaming(service, retention_bytes=256 * KIB)
    async with Talk(service, session, encoding="msgpack", recover_from=0) as talk:
        await talk.send("mode", mode="frozen")
        await talk.echoed()
        here = talk.seq
        async with Talk(service, session, encoding="msgpack") as other:
            await other.until(lambda: len(other.data) > 1200 * KIB, "more than is kept")
        await talk.send("mode", mode="exact")
        gap = await talk.hear("gap")
        assert (gap["reason"], gap["first"]) == ("trimmed", here)
        assert gap["lost_bytes"] == gap["last"] - here
        await talk.hear("output")
        # Not from 0 where more than is kept was printed before.
        assert talk.data == told(talk, start=talk.all("attached")[0]["seq"])


async def test_two_viewers_see_the_same_bytes(service: SharedService) -> None:
    session = await streaming(service, rate=400_000)
    async with (
        Talk(service, session, encoding="msgpack", recover_from=0) as one,
        Talk(service, session, encoding="plain", role="viewer", recover_from=0) as two,
    ):
        for talk in (one, two):
            await talk.output(rb".{150000}")
            assert talk.data == stream(SEED, len(talk.data))


# -- size


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("smallest", [(40, 120), (30, 100), (20, 100), (40, 120)]),
        ("latest", [(40, 120), (30, 100), (20, 110), (40, 120)]),
    ],
)
async def test_the_size_follows_the_policy(
    service: SharedService, policy: str, expected: list[tuple[int, int]]
) -> None:
    script = "while read x; do stty size; done"
    view = await service.create_session(command=["sh", "-c", script], size_policy=policy)
    session = view["session_id"]

    async def shown(talk: Talk) -> tuple[int, int]:
        info = await service.info(session)
        here = len(talk.data)
        await talk.type("\n")
        found = await talk.output(rb"(\d+) (\d+)\r\n", since=here)
        assert (int(found[1]), int(found[2])) == (info["rows"], info["cols"])
        resize = talk.all("resize")[-1]
        assert (resize["rows"], resize["cols"]) == (info["rows"], info["cols"])
        return info["rows"], info["cols"]

    async with Talk(service, session, recover_from=0, client_id="one") as one:
        await one.send("resize", rows=40, cols=120)
        await one.echoed()
        assert await shown(one) == expected[0]
        assert one.all("resize")[-1]["client_id"] == "one"
        async with Talk(service, session, recover_from=0) as two:
            await two.send("resize", rows=30, cols=100)
            await two.echoed()
            assert await shown(one) == expected[1]
            async with Talk(service, session, recover_from=0) as three:
                await three.send("resize", rows=20, cols=110)
                await three.echoed()
                assert await shown(one) == expected[2]
        await one.until(lambda: len(one.all("viewers")[-1]["viewers"]) == 1, "to be alone")
        assert await shown(one) == expected[3]


async def test_under_the_owners_size_who_attached_as_owner_counts(service: SharedService) -> None:
    view = await service.create_session(command=["cat"], size_policy="owner", user_id="somebody", rows=25, cols=90)
    async with Talk(service, view["session_id"]) as writer, Talk(service, view["session_id"], role="owner") as owner:
        await writer.hear("resize")
        await writer.send("resize", rows=10, cols=10)
        assert (await writer.hear("resize"))["rows"] == 25
        await owner.send("resize", rows=40, cols=120)
        await writer.hear("resize", rows=40)
        await writer.send("resize", rows=11, cols=11)
        assert (await writer.hear("resize"))["rows"] == 40


async def test_under_a_fixed_size_a_viewer_is_told_what_holds(service: SharedService) -> None:
    view = await service.create_session(command=["cat"], size_policy="fixed", rows=25, cols=90)
    async with Talk(service, view["session_id"]) as talk:
        await talk.hear("resize")
        await talk.send("resize", rows=10, cols=10)
        resize = await talk.hear("resize")
        assert (resize["rows"], resize["cols"], resize["client_id"]) == (25, 90, "")
        viewer = (await talk.hear("viewers"))["viewers"][0]
        assert (viewer["rows"], viewer["cols"]) == (10, 10), "what it can show is known all the same"


async def test_a_size_told_to_a_viewer_that_is_behind_is_the_one_at_its_place(service: SharedService) -> None:
    view = await service.create_session(command=["cat"], size_policy="fixed", rows=25, cols=90)
    session = view["session_id"]
    async with Talk(service, session, mode="frozen", recover_from=0) as late, Talk(service, session) as other:
        await other.type("before\n")
        await other.output(rb"before\r\nbefore\r\n")
        await service.http.put(f"/api/v1/sessions/{session}/resize", json={"rows": 50, "cols": 150})
        await other.hear("resize", rows=50)
        await late.send("resize", rows=10, cols=10)
        await late.echoed()
        await late.send("mode", mode="exact")
        await late.hear("resize", rows=50)
        told = [(m["rows"], m["seq"], len(late.data)) for m in late.all("resize")]
        assert all(seq <= 16 for _, seq, _ in told)
        assert told[0][:2] == (25, 0)
        places = [message["type"] for message in late.messages if message["type"] in {"resize", "output"}]
        assert places.index("output") > places.index("resize")
        last = next(m for m in reversed(late.messages) if m["type"] == "resize")
        assert (last["rows"], last["cols"], last["seq"]) == (50, 150, 16)
        before_output = late.messages[: late.messages.index(late.all("output")[0])]
        assert all(m["seq"] == 0 for m in before_output if m["type"] == "resize")


async def test_a_resize_over_http_holds_until_a_viewer_reports_again(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    async with Talk(service, session) as one:
        await one.send("resize", rows=30, cols=100)
        await one.hear("resize", rows=30)
        answer = await service.http.put(f"/api/v1/sessions/{session}/resize", json={"rows": 50, "cols": 150})
        assert answer.json() == {"status": "resized", "rows": 50, "cols": 150}
        resize = await one.hear("resize")
        assert (resize["rows"], resize["cols"], resize["client_id"]) == (50, 150, "")
        async with Talk(service, session, role="viewer") as two:
            await two.hear("attached", rows=50)
        await one.hear("viewers")
        await one.until(lambda: len(one.all("viewers")[-1]["viewers"]) == 1, "the other to be gone")
        assert (await service.info(session))["rows"] == 50, "somebody who never said a size has left"
        await one.send("resize", rows=31, cols=101)
        await one.hear("resize", rows=31)


async def test_the_size_of_each_place_comes_with_the_replay(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"], rows=24))["session_id"]
    async with Talk(service, session) as one:
        await one.type("a\n")
        await one.output(rb"a\r\na\r\n")
        await one.send("resize", rows=30, cols=100)
        await one.hear("resize", rows=30)
        await one.type("b\n")
        await one.output(rb"b\r\nb\r\n")
    async with Talk(service, session, recover_from=0) as late:
        assert (await late.hear("attached"))["rows"] == 24
        await late.hear("replay_end")
        told = [
            message["rows"] if message["type"] == "resize" else bytes(message["data"])
            for message in late.messages
            if message["type"] in {"resize", "output"}
        ]
        assert told == [24, b"a\r\na\r\n", 30, b"b\r\nb\r\n"]


# -- presence


async def test_everybody_is_told_who_is_there_and_who_answers_queries(service: SharedService) -> None:
    session = (await service.create_session(command=["cat"]))["session_id"]
    async with Talk(service, session, client_id="looks", role="viewer", recover_from=0) as looks:
        told = await looks.hear("viewers")
        assert told["responder"] is None, "who may not type cannot answer"
        async with Talk(service, session, client_id="types", recover_from=0) as types:
            told = await looks.hear("viewers")
            assert [(each["client_id"], each["role"]) for each in told["viewers"]] == [
                ("looks", "viewer"),
                ("types", "writer"),
            ]
            assert told["responder"] == "types"
            await types.send("resize", rows=33, cols=77)
            told = await looks.hear("viewers")
            assert (told["viewers"][1]["rows"], told["viewers"][1]["cols"]) == (33, 77)
            await types.type("x\n")
            await types.output(rb"x\r\nx\r\n")
            await looks.output(rb"x\r\nx\r\n")
            async with Talk(service, session, client_id="third", tail_bytes=0) as third:
                told = await third.hear("viewers")
                assert [each["position"] for each in told["viewers"]] == [6, 6, 6]
                assert told["responder"] == "types"
                assert len((await service.info(session))["viewers"]) == 3
            await looks.until(lambda: len(looks.all("viewers")[-1]["viewers"]) == 2, "the third to be gone")
        told = await looks.until(
            lambda: len(looks.all("viewers")[-1]["viewers"]) == 1 and looks.all("viewers")[-1], "the writer to be gone"
        )
        assert told["responder"] is None
        assert told["viewers"][0]["user"] == (await service.info(session))["user_id"]
