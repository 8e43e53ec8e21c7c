"""What other nodes are told of a session: at once what matters, from time to time what changes all the time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from nodes.errors import Away
from nodes.memory_directory import MemoryDirectory
from support.house import House, running, terminal_of
from terminal_service.errors import LimitReached
from terminal_service.publisher import BUSY_SECONDS, REFRESH_SECONDS, Publisher
from terminal_service.session import SessionSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nodes.base import Entry
    from terminal_service.session import Session


class Heard(MemoryDirectory):
    """A directory that notes what it is told, can be away, and can say that a session was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[str] = []
        self.lost: list[str] = []
        self.is_away = False

    async def claim(self, session_id: str, user: str, *, limit_all: int, limit_user: int) -> None:
        if self.is_away:
            raise Away("a test says so")
        await super().claim(session_id, user, limit_all=limit_all, limit_user=limit_user)

    async def save(self, entries: Sequence[Entry]) -> Sequence[str]:
        if self.is_away:
            raise Away("a test says so")
        self.saved += [entry.session_id for entry in entries]
        await super().save(entries)
        return self.lost

    def take(self) -> list[str]:
        saved, self.saved = self.saved, []
        return saved


def publisher_of(house: House, directory: Heard, *, user_limit: int = 10) -> Publisher:
    return Publisher(directory, "one", describe=lambda _: b"{}", user_limit=user_limit, clock=house.sessions.clock)


async def round_of(publisher: Publisher, *sessions: Session) -> list[str]:
    return await publisher._publish_changed(sessions)


async def test_a_change_is_published_at_once_and_output_from_time_to_time(tmp_path: Path) -> None:
    async with running(tmp_path / "sessions") as house:
        session, heard = await house.create(), Heard()
        publisher = publisher_of(house, heard)
        await round_of(publisher, session)
        assert heard.take() == [session.session_id]
        await round_of(publisher, session)
        assert heard.take() == []
        terminal_of(session).data_received(b"some output")
        await round_of(publisher, session)
        assert heard.take() == []
        session.name = "renamed"
        await round_of(publisher, session)
        assert heard.take() == [session.session_id]
        terminal_of(session).data_received(b"more")
        house.time.advance(BUSY_SECONDS + 1)
        await round_of(publisher, session)
        assert heard.take() == [session.session_id]
        house.time.advance(REFRESH_SECONDS - 1)
        await round_of(publisher, session)
        assert heard.take() == []
        house.time.advance(2)
        await round_of(publisher, session)
        assert heard.take() == [session.session_id], "should it have been lost"


async def test_what_could_not_be_published_is_as_soon_as_it_can(tmp_path: Path) -> None:
    async with running(tmp_path / "sessions") as house:
        session, heard = await house.create(), Heard()
        publisher = publisher_of(house, heard)
        heard.is_away = True
        assert await publisher.publish(session)
        assert await round_of(publisher, session) == []
        heard.is_away = False
        await round_of(publisher, session)
        assert heard.take() == [session.session_id]


async def test_sessions_that_were_taken_for_lost_are_named(tmp_path: Path) -> None:
    async with running(tmp_path / "sessions") as house:
        session, heard = await house.create(), Heard()
        publisher = publisher_of(house, heard)
        heard.lost = [session.session_id]
        assert await round_of(publisher, session) == [session.session_id]
        assert not await publisher.publish(session)
        house.sessions.lose(session.session_id)
        async with asyncio.timeout(30):
            await session.over.wait()
        assert session.state.value == "lost"
        ended = terminal_of(session).end_message()
        assert ended is not None
        assert ended.reason == session.end_reason == "this node was taken for dead by others"


async def test_a_limit_of_all_nodes_is_refused_and_nobody_to_ask_is_no_refusal(tmp_path: Path) -> None:
    async with running(tmp_path / "sessions") as house:
        heard = Heard()
        publisher = publisher_of(house, heard, user_limit=1)
        first = house.sessions._launcher.make_session(SessionSpec(), "ann")
        second = house.sessions._launcher.make_session(SessionSpec(), "ann")
        await publisher.claim(first)
        with pytest.raises(LimitReached):
            await publisher.claim(second)
        heard.is_away = True
        await publisher.claim(second)
