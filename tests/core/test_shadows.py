"""A viewer at one node, the program at another: what each of them is told, and what becomes of what it does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from backends.base import Notice
from support.house import terminal_of, watch
from support.two_nodes import GUEST, HOST, two_nodes
from support.wait import wait_until
from terminal_service import wire
from terminal_service.errors import InvalidRequest, LimitReached, Restarting, UnknownSession
from terminal_service.followed_terminal import BACKLOG_BYTES
from terminal_service.notices import Notices
from terminal_service.shadow import Shadow
from terminal_service.sizes import Size

if TYPE_CHECKING:
    from pathlib import Path

    from support.manual import CollectingOutlet
    from terminal_service.attachment import Attachment


def of(outlet: CollectingOutlet) -> Attachment:
    assert outlet.attachment is not None
    return outlet.attachment


async def shown(outlet: CollectingOutlet, text: bytes) -> None:
    await wait_until(lambda: text in outlet.output, description=f"{text!r} is shown")


async def test_what_a_far_viewer_types_is_written_once_and_acknowledged(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        terminal = (await nodes.find(session)).terminal
        assert terminal is not None
        for number in (1, 2, 2, 1, 3):
            terminal.type(of(far), number, b"<%d>" % number)
        await wait_until(lambda: [ack.n for ack in far.of(wire.InputAck)][-1:] == [3], description="acknowledged")
        await shown(far, b"<1><2><3>")
        assert far.output.count(b"<2>") == 1
        again = await nodes.watch(session, recover_from="last_sequence")
        assert again.last(wire.Attached).input_n == 3
        assert far.closed == (4409, "superseded by a newer connection of this client")


async def test_what_the_place_says_is_told_at_every_node(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        notices = Notices(session, asyncio.get_running_loop(), nodes.host.time.clock)
        notices.tell(Notice("link_lost", "the connection is lost", {"attempts": [1, {"more": None}]}))
        await wait_until(lambda: far.of(wire.Notice), description="it is told")
        told = far.last(wire.Notice)
        assert (told.kind, told.message, told.seq) == ("link_lost", "the connection is lost", 0)
        assert told.fields == {"attempts": [1, {"more": None}]}
        terminal_of(session).write(b"typed")
        await shown(far, b"typed")
        late = await nodes.watch(session, recover_from=5, client_id="late")
        await wait_until(lambda: late.of(wire.Notice), description="whoever comes later is told too")


async def test_an_input_out_of_order_is_refused_where_it_was_typed(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        shadow = await nodes.find(session)
        assert isinstance(shadow, Shadow)
        shadow.terminal.type(of(far), 7, b"x")
        await wait_until(lambda: far.of(wire.Error), description="it is refused")
        assert (far.last(wire.Error).code, far.last(wire.Error).expected) == ("input_out_of_order", 1)


async def test_sizes_and_presence_are_of_all_nodes(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, size_policy="smallest") as nodes:
        session = await nodes.host.create()
        near, far = watch(session, client_id="near"), await nodes.watch(session)
        shadow = await nodes.find(session)
        assert isinstance(shadow, Shadow)
        terminal_of(session).report_size(of(near), Size(30, 100))
        shadow.terminal.report_size(of(far), Size(20, 120))
        await wait_until(lambda: terminal_of(session).size == Size(20, 100), description="the smallest of both")
        nodes.host.time.advance(1)
        await wait_until(lambda: far.of(wire.Viewers), description="the far one is told")
        await wait_until(
            lambda: [viewer["rows"] for viewer in far.last(wire.Viewers).viewers] == [30, 20], description="of all"
        )
        assert near.last(wire.Viewers) == far.last(wire.Viewers)
        assert far.last(wire.Viewers).responder == "near"
        assert shadow.terminal.viewer_count == 2
        shadow.terminal.detach(of(far))
        await wait_until(lambda: terminal_of(session).size == Size(30, 100), description="it counts no more")


async def test_limits_and_positions_are_refused_before_anything_is_attached(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, max_viewers_per_session=1) as nodes:
        session = await nodes.host.create()
        with pytest.raises(InvalidRequest):
            await nodes.watch(session, recover_from=99)
        await wait_until(lambda: not nodes.guests.count, description="the host has forgotten it")
        watch(session, client_id="near")
        with pytest.raises(LimitReached):
            await nodes.watch(session)
        assert len(terminal_of(session).attachments) == 1


async def test_when_what_is_said_may_be_lost_far_viewers_are_sent_to_come_back(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        nodes.post.reset(HOST, GUEST)
        await wait_until(lambda: far.closed, description="it is sent away")
        assert far.closed is not None
        assert far.closed[0] == 1012
        await wait_until(lambda: not terminal_of(session).attachments, description="the host has forgotten it")
        assert nodes.followed[0].is_released
        assert (await nodes.watch(session)).closed is None


async def test_the_host_of_a_dead_node_is_not_asked(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        nodes.registry.host_lives = False
        nodes.post.reset(HOST, GUEST)
        with pytest.raises(Restarting):  # until somebody has found what it left lost
            await nodes.find(session)
        assert far.closed is None, "the end of the session is told by its log"


async def test_who_may_not_know_of_a_session_begins_no_copy(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create(owner="ann")
        with pytest.raises(UnknownSession):
            await nodes.shadows.find(session.session_id, lambda user: user == "bob")
        assert not nodes.followed


async def test_the_end_is_told_after_the_last_byte_with_everything_known_of_it(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create(command=["exit", "3"])
        await session.over.wait()
        far = await nodes.watch(session)
        assert far.last(wire.Attached).ended is True
        assert far.last(wire.SessionEnded) == terminal_of(session).end_message()
        assert far.last(wire.SessionEnded).exit_code == 3
        assert far.closed == (4410, "session ended")


async def test_a_far_viewer_keeps_the_session_alive_and_is_told_how_long_it_lives(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create(ttl_seconds=100.0)
        await nodes.watch(session)
        shadow = await nodes.find(session)
        assert isinstance(shadow, Shadow)
        assert shadow.expires_at == pytest.approx(session.expires_at, abs=1)
        nodes.host.time.advance(60)
        left = session.deadline
        shadow.bump("viewer")
        await wait_until(lambda: session.deadline == left + 60, description="it lives longer")
        told = []
        shadow.ttl_watchers.add(lambda: told.append(shadow.ttl_seconds))
        await nodes.host.sessions.update(session, ttl_seconds=7.0)
        nodes.host.time.advance(5)
        nodes.guests.tick()
        await wait_until(lambda: told == [7.0], description="the guest knows")


async def test_a_far_client_is_read_no_further_while_the_host_takes_nothing(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        shadow = await nodes.find(session)
        assert isinstance(shadow, Shadow)
        nodes.post.hold(HOST)
        for number in range(1, 20):
            shadow.terminal.type(of(far), number, b"x" * (BACKLOG_BYTES // 16))
        assert far.input_paused
        nodes.post.release(HOST)
        await wait_until(lambda: far.of(wire.InputAck) and far.last(wire.InputAck).n == 19, description="all taken")
        await wait_until(lambda: not far.input_paused, description="it is read again")


async def test_modes_that_began_before_what_is_kept_are_restored_at_another_node(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        terminal = terminal_of(session)
        terminal.data_received(b"\x1b[?1049h\x1b[?1000h" + b"x" * 3 * terminal.log.retention_bytes)
        assert terminal.log.first > 100
        far = await nodes.watch(session, recover_from=None, tail_bytes=100)
        near = watch(session, client_id="near", recover_from=None, tail_bytes=100)
        assert b"\x1b[?1049h" in bytes(far.last(wire.Attached).preamble or b"")
        assert far.last(wire.Attached).preamble == near.last(wire.Attached).preamble


async def test_what_nobody_looks_at_is_let_go(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        nodes.guest.time.advance(60)
        nodes.shadows.tick()
        assert not nodes.followed[0].is_released
        shadow = await nodes.find(session)
        assert isinstance(shadow, Shadow)
        shadow.terminal.detach(of(far))
        nodes.shadows.tick()
        nodes.guest.time.advance(60)
        nodes.shadows.tick()
        assert nodes.followed[0].is_released


async def test_trouble_with_redis_is_told_to_far_viewers_and_that_it_is_over(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as nodes:
        session = await nodes.host.create()
        far = await nodes.watch(session)
        nodes.followed[0].trouble = "Redis does not answer"
        nodes.shadows.tick()
        nodes.shadows.tick()
        nodes.followed[0].trouble = None
        nodes.shadows.tick()
        told = [(state.durable, state.reason) for state in far.of(wire.StorageState)]
        assert told == [(False, "Redis does not answer"), (True, "")]
