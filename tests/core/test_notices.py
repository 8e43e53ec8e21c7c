"""What a place says of itself reaches everybody who watches, in order with the output, and whoever comes later."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backends.base import Notice
from backends.echo import EchoBackend
from support.house import House, over, running, terminal_of, watch
from support.wait import wait_until
from terminal_service import wire
from terminal_service.notices import PACE_SECONDS, last_notice
from terminal_service.session import Session, State
from transports.views import view_of

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Order
    from backends.echo import EchoEnvironment
    from support.manual import CollectingOutlet

LOST = Notice("link_lost", "the connection to build1 is lost, trying again")
BACK = Notice("link_back", "the connection to build1 is there again")


class TalkingBackend(EchoBackend):
    """An echo whose orders a test can speak through."""

    def __init__(self) -> None:
        super().__init__()
        self.orders: dict[str, Order] = {}

    async def open(self, order: Order) -> EchoEnvironment:
        self.orders[order.session_id] = order
        order.tell(Notice("progress", "pulling the image", {"percent": 10}))
        return await super().open(order)


def told(viewer: CollectingOutlet) -> list[tuple[str, int]]:
    return [(m.kind, m.seq) for m in viewer.sent if isinstance(m, wire.Notice)]


async def begin(house: House) -> tuple[Session, Order]:
    session = await house.create()
    assert isinstance(house.backend, TalkingBackend)
    return session, house.backend.orders[session.session_id]


async def print_(session: Session, text: bytes) -> None:
    head = terminal_of(session).log.head
    terminal_of(session).write(text)
    await wait_until(lambda: terminal_of(session).log.head == head + len(text), description="it is printed")


async def test_viewers_are_told_in_order_with_the_output(directory: Path) -> None:
    async with running(directory, TalkingBackend()) as house:
        session, order = await begin(house)
        first, second = watch(session), watch(session, client_id="d", role="viewer")
        await print_(session, b"one")
        order.tell(LOST)
        await print_(session, b"two")
        order.tell(BACK)
        for viewer in (first, second, watch(session, client_id="late")):
            assert told(viewer) == [("ready", 0), ("link_lost", 3), ("link_back", 6)]
            kinds = [type(m).__name__ for m in viewer.sent]
            assert kinds.index("ReplayEnd") > 0
        notice = view_of(session, "n").notice
        assert notice is not None
        assert (notice.kind, notice.message, notice.seq) == ("link_back", BACK.message, 6)


async def test_who_comes_later_is_told_what_still_holds(directory: Path) -> None:
    async with running(directory, TalkingBackend()) as house:
        session, order = await begin(house)
        order.tell(LOST)
        await print_(session, b"later")
        assert told(watch(session, recover_from=5, client_id="x")) == [("link_lost", 0)]
        order.tell(BACK)
        await print_(session, b"latest")
        assert told(watch(session, recover_from=11, client_id="y")) == []


async def test_the_same_is_told_once_and_what_is_wrong_with_it_is_bounded(directory: Path) -> None:
    async with running(directory, TalkingBackend()) as house:
        session, order = await begin(house)
        viewer = watch(session)
        for _ in range(3):
            order.tell(LOST)
        order.tell(Notice("warning", "a\x1b[31m\r\n" + "x" * 10_000, {"large": "y" * 10_000}))
        messages = [m for m in viewer.sent if isinstance(m, wire.Notice)]
        assert [m.kind for m in messages] == ["ready", "link_lost", "warning"]
        assert messages[-1].message.startswith("a [31m  xx")
        assert (len(messages[-1].message), messages[-1].fields) == (500, {})
        order.tell(Notice("warning", "odd", {"object": object()}))
        assert viewer.last(wire.Notice).fields == {}


async def test_a_flood_of_progress_is_told_from_time_to_time_and_its_last(directory: Path) -> None:
    async with running(directory, TalkingBackend()) as house:
        session, order = await begin(house)
        viewer = watch(session)
        for percent in range(100):
            order.tell(Notice("progress", f"{percent} %"))
        assert len(told(viewer)) <= 2
        await wait_until(lambda: viewer.last(wire.Notice).message == "99 %", description="the last is told")
        assert len(told(viewer)) <= 3
        house.time.advance(PACE_SECONDS)
        order.tell(Notice("progress", "done"))
        assert viewer.last(wire.Notice).message == "done"


async def test_the_state_of_the_link_is_a_reason_in_the_history_once(directory: Path) -> None:
    async with running(directory, TalkingBackend()) as house:
        session, order = await begin(house)
        length = len(session.history)
        for number in range(5):
            order.tell(Notice("link_lost", f"lost {number}"))
            order.tell(Notice("link_back", f"back {number}"))
        assert len(session.history) == length + 1
        assert (session.state, session.history[-1].reason) == (State.RUNNING, "back 4")
        terminal_of(session).write(b"exit\r")
        await over(session)
        order.tell(LOST)
        assert session.state is State.ENDED
        assert last_notice(terminal_of(session).log) is not None


async def test_notices_outlive_the_process(directory: Path) -> None:
    async with running(directory, TalkingBackend()) as house:
        session, order = await begin(house)
        order.tell(LOST)
        terminal_of(session).write(b"exit\r")
        await over(session)
    async with running(directory) as house:
        await asyncio.sleep(0)
        again = house.sessions.get(session.session_id)
        found = last_notice(terminal_of(again).log)
        assert found is not None
        assert found.message == LOST.message
