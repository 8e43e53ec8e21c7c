"""Lists of sessions: filters, and pages by cursor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.http_service import HttpService, serve
from terminal_service.session import SessionSpec
from transports.views import view_of

SESSIONS = "/api/v1/sessions"


def ids(views: list[dict[str, Any]]) -> list[str]:
    return [view["session_id"] for view in views]


async def listed(service: HttpService, **query: Any) -> list[str]:
    answer = await service.http.get(SESSIONS, params=query)
    assert answer.status_code == 200, answer.text
    return ids(answer.json())


async def test_a_list_is_an_array_of_sessions_oldest_first() -> None:
    async with serve() as service:
        views = [await service.create() for _ in range(3)]
        answer = await service.http.get(SESSIONS)
        assert ids(answer.json()) == ids(views)
        assert "link" not in answer.headers
        assert set(answer.json()[0]) == set(views[0])


async def test_a_list_shows_the_last_line_of_each_and_when_it_ends_whatever_happens() -> None:
    async with serve(session_max_lifetime_seconds=7200.0) as service:
        silent, talks = await service.create(), await service.create()
        await service.type(talks, "one\r\n\x1b[31mtwo\x1b[0m\r\n\r\n")
        await service.wait_for_head(talks, 10)
        shown = (await service.http.get(SESSIONS)).json()
        assert [view["last_line"] for view in shown] == [None, "two"]
        assert [round(view["lifetime_ends_at"] - view["created_at"]) for view in shown] == [7200, 7200]
        await service.http.delete(service.path(silent))
        ended = (await service.http.get(service.path(silent))).json()
        assert (ended["lifetime_ends_at"], ended["kept_alive_by"], ended["responder"]) == (None, [], None)
    async with serve(session_max_lifetime_seconds=0.0) as service:
        assert (await service.create())["lifetime_ends_at"] is None


async def test_a_list_of_a_thousand_with_the_worst_output_leaves_others_their_turns() -> None:
    async with serve(max_sessions=2000, max_concurrent_sessions_per_user=2000) as service:
        for _ in range(1000):
            session = await service.sessions.create(SessionSpec(), owner="ann")
            assert session.terminal is not None
            session.terminal.log.append(b"\x1b[999C\x1b[999@" * 100)
        gaps, before = [], service.sessions.clock.monotonic()
        asking = asyncio.create_task(service.http.get(SESSIONS))
        while not asking.done():
            await asyncio.sleep(0)
            now = service.sessions.clock.monotonic()
            gaps.append(now - before)
            before = now
        assert len((await asking).json()) == 1000
        # The few longest ones are making JSON of it all, and whatever else this machine does.
        assert sorted(gaps)[-5] < 0.1, sorted(gaps)[-10:]


async def test_a_session_whose_output_was_closed_meanwhile_is_shown_without_a_last_line() -> None:
    async with serve() as service:
        view = await service.create()
        await service.type(view, "text")
        await service.wait_for_head(view, 4)
        session = service.sessions.get(view["session_id"])
        assert session.terminal is not None
        assert view_of(session, "node").last_line == "text"
        await service.http.delete(service.path(view))
        session.terminal.log.close()
        assert view_of(session, "node").last_line is None


async def test_filters_must_all_match() -> None:
    async with serve() as service:
        one = await service.create(user_id="one", labels={"team": "ops", "tier": "1"})
        two = await service.create(user_id="two", labels={"team": "ops", "tier": "a=b"})
        over = await service.create(command=["exit"])
        await service.wait_for_end(over)
        assert await listed(service, user_id="one") == ids([one])
        assert await listed(service, label="team=ops") == ids([one, two])
        assert await listed(service, label=["team", "tier=a=b"]) == ids([two])
        assert await listed(service, label="team=dev") == []
        assert await listed(service, user_id="one", label="tier=a=b") == []
        assert await listed(service, state="ended") == ids([over])
        assert await listed(service, state=["ended", "running"]) == ids([one, two, over])
        assert await listed(service, state="all") == ids([one, two, over])
        assert await listed(service, state="living") == await listed(service) == ids([one, two])


async def test_pages_follow_each_other_without_gap_or_repetition_while_sessions_come_and_go() -> None:
    async with serve() as service:
        views = [await service.create(labels={"a": "b"}) for _ in range(5)]
        answer = await service.http.get(SESSIONS, params={"limit": 2, "label": "a=b"})
        assert ids(answer.json()) == ids(views[:2])
        await service.http.delete(service.path(views[1]))
        await service.http.delete(service.path(views[2]))
        last = await service.create(labels={"a": "b"})
        await service.create()
        found = []
        while "next" in answer.links:
            url = answer.links["next"]["url"]
            assert url.startswith(SESSIONS)
            answer = await service.http.get(url)
            found += ids(answer.json())
        assert found == ids([views[3], views[4], last])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "!!!!"}, "cursor"),
        ({"cursor": "bmFuIA"}, "cursor"),
        ({"cursor": "x" * 201}, "cursor"),
        ({"state": "asleep"}, "state.0"),
        ({"label": "=x"}, "label"),
        ({"label": ""}, "label.0"),
        ({"user_id": ""}, "user_id"),
    ],
)
async def test_a_wrong_query_is_named(wrong: dict[str, Any], field: str) -> None:
    async with serve() as service:
        answer = await service.http.get(SESSIONS, params=wrong)
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == [field]
