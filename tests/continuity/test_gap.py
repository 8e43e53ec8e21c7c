"""C5: a gap is always told, with its size; never silence."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.memory import MemoryStore
from support.alone import publisher_of_one
from support.same import assert_same
from support.scripted import HandClock, ScriptedBackend, Stage, Viewer, attach
from support.service import Service
from support.stream import stream
from support.transcript import Transcript
from support.wait import wait_until
from terminal_service.counters import Counters
from terminal_service.places import Places
from terminal_service.records import MemoryRecords
from terminal_service.session import SessionSpec
from terminal_service.sessions import Sessions
from terminal_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROGRAM = Path(__file__).parents[1] / "support" / "stream.py"
RETENTION = 64 * 1024  # the least there is
PRINTS = st.integers(1, 3 * RETENTION)
TRIMS = st.integers(-4 * RETENTION, -1)  # forget all but the last so many bytes
READS = st.sampled_from(["read 0", "read 1", "read 10000", "read all"])
MODES = st.sampled_from(["exact", "live", "frozen"])


def account_for(transcript: Transcript, asked: int, printed: bytes) -> None:
    """Fail unless what is held and what was told to be missing cover everything from `asked`, with the right bytes."""
    pieces = [(start, start + len(data), data) for start, data in transcript.past]
    pieces.append((transcript.start, transcript.start + len(transcript.data), bytes(transcript.data)))
    for start, end, data in pieces:
        assert_same(data, printed[start:end])
    spans = sorted([(start, end) for start, end, _ in pieces] + [(gap.first, gap.last) for gap in transcript.gaps])
    position = asked
    for start, end in spans:
        if start == end:
            continue
        assert start == position, f"silence from {position} to {start}"
        position = end
    assert position == transcript.position


def make_sessions(backend: ScriptedBackend) -> Sessions:
    """Return the real component, in memory."""
    return Sessions(
        settings=Settings(retention_bytes=RETENTION),
        places=Places.of({"scripted": backend}),
        store=MemoryStore(),
        records=MemoryRecords(),
        publisher=publisher_of_one(HandClock().clock),
        clock=HandClock().clock,
        counters=Counters(),
    )


def play(steps: Iterable[int | str], share: float, seed: int) -> None:
    """Print, trim and read in this order, with a viewer that attaches somewhere before the head; then account."""
    backend = ScriptedBackend()
    stage = Stage(lambda: make_sessions(backend))
    try:
        session = stage.run(stage.sessions.create(SessionSpec(), "me"))
        pty, terminal = backend.ptys[session.session_id], session.terminal
        assert terminal is not None
        printed = random.Random(seed).randbytes(2 * RETENTION)
        pty.print(printed)
        asked = round(share * len(printed))
        viewer = Viewer("me", Transcript())
        viewer.capacity = 0
        attach(stage.sessions, session.session_id, viewer, recover_from=asked)
        assert viewer.attachment is not None
        for step in [*steps, "exact", "read all"]:
            if isinstance(step, int) and step > 0:
                data = random.Random(step).randbytes(step)
                printed += data
                pty.print(data)
            elif isinstance(step, int):
                terminal.log.trim(len(printed) + step)
            elif step.startswith("read "):
                viewer.more(None if step == "read all" else int(step[5:]))
            else:
                viewer.attachment.set_mode(step)
            stage.settle()
            if viewer.deviation is not None:
                raise viewer.deviation
            account_for(viewer.transcript, asked, printed)
        assert viewer.transcript.position == len(printed)
    finally:
        stage.close()


@pytest.mark.full
@pytest.mark.timeout(400)
def test_what_is_missing_is_told_whatever_is_trimmed_and_wherever_a_viewer_stands(
    size: Callable[[int, int], int],
) -> None:
    steps = st.lists(st.one_of(PRINTS, PRINTS, TRIMS, READS, READS, MODES), max_size=30)
    check = given(steps, st.floats(0, 1), st.integers(0, 1 << 16))(play)
    settings(max_examples=size(300, 5_000), deadline=None)(check)()


async def test_a_client_that_was_away_too_long_is_told_how_much_it_missed(tmp_path: Path) -> None:
    async with Service(tmp_path, RETENTION_BYTES=str(RETENTION)) as service:
        command = [sys.executable, str(PROGRAM), "3", "400000"]
        session_id = (await service.create_session(command=command))["session_id"]
        client = service.client(session_id, client_id="me", reconnect=False)
        async with client:
            await client.wait(lambda: client.position > 10_000, "output")
        left_at = client.position

        async def is_past_it() -> bool:
            return int((await service.info(session_id))["first"]) > left_at

        await wait_until(is_past_it, description="the trim")
        later = service.client(session_id, client_id="me", recover_from=left_at)
        async with later:
            assert later.attached["recover"] == "gap"
            later.send_input(b"q")
            await later.wait_ended()
        first_gap = later.transcript.gaps[0]
        assert (first_gap.first, first_gap.last) == (left_at, left_at + later.attached["lost_bytes"])
        printed = stream(3, later.position)
        start = later.transcript.start
        trailer = later.data.rfind(b"\r\nEND ")
        assert_same(later.data[:trailer], printed[start : start + trailer])


async def test_a_live_viewer_far_behind_is_told_what_was_skipped(tmp_path: Path) -> None:
    async with Service(tmp_path) as service:
        session_id = (await service.create_session(command=["sh", "-c", "seq 1 700000; exec cat"]))["session_id"]

        async def is_printed() -> bool:
            head = (await service.info(session_id))["seq"]
            return (await service.output(session_id, max(0, head - 9))).endswith(b"\n700000\r\n")

        await wait_until(is_printed, description="all of it")
        async with service.client(session_id, mode="live") as client:
            await client.wait_for_output(rb"700000\r\n")
        (gap,) = client.transcript.gaps
        assert (gap.first, gap.reason) == (0, "skipped")
        assert gap.last == client.transcript.start
        assert client.data.endswith(b"699999\r\n700000\r\n")
