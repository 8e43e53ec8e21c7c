"""Lists of the sessions of all nodes, from any of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from support.fleets import entry_of, two_nodes
from terminal_service.session import SessionSpec

if TYPE_CHECKING:
    import httpx

    from support.fleets import Company
    from support.http_service import HttpService

SESSIONS = "/api/v1/sessions"


def ids(views: list[dict[str, Any]]) -> list[str]:
    return [view["session_id"] for view in views]


async def listed(http: httpx.AsyncClient, **query: Any) -> list[str]:
    """Return the ids of all pages."""
    found, answer = [], await http.get(SESSIONS, params=query)
    while True:
        assert answer.status_code == 200, answer.text
        assert "x-incomplete" not in answer.headers
        found += ids(answer.json())
        if "next" not in answer.links:
            return found
        assert answer.json()
        answer = await http.get(answer.links["next"]["url"])


async def created_in_turns(one: HttpService, two: HttpService, company: Company, count: int) -> list[dict[str, Any]]:
    views = [await (one, two)[number % 2].create(labels={"n": str(number)}) for number in range(count)]
    await company.tell(one)
    await company.tell(two)
    return views


async def test_every_node_lists_the_sessions_of_all_in_one_order() -> None:
    async with two_nodes() as (one, two, company):
        views = await created_in_turns(one, two, company, 7)
        for node in (one, two):
            assert await listed(node.http) == ids(views)
            for limit in (1, 2, 3, 7):
                assert await listed(node.http, limit=limit) == ids(views)
        shown = (await one.http.get(SESSIONS)).json()
        assert [view["node"] for view in shown] == ["one", "two"] * 3 + ["one"]
        assert set(shown[0]) == set(shown[1])


async def test_sessions_are_listed_as_they_were_changed_last_and_own_ones_before_others_know_of_them() -> None:
    async with two_nodes() as (one, two, company):
        views = await created_in_turns(one, two, company, 2)
        await one.http.patch(one.path(views[0]), json={"name": "new"})
        await two.http.patch(two.path(views[1]), json={"name": "new"})
        fresh = await one.create()
        shown = (await one.http.get(SESSIONS)).json()
        assert [(view["session_id"], view["name"]) for view in shown] == [
            (views[0]["session_id"], "new"),
            (views[1]["session_id"], "new"),
            (fresh["session_id"], ""),
        ]


async def test_filters_see_the_sessions_of_other_nodes_too() -> None:
    async with two_nodes() as (one, two, company):
        there, over, here = await two.create(labels={"a": "b"}, user_id="ann"), await two.create(), await one.create()
        await two.http.delete(two.path(over))
        await company.tell(two)
        assert await listed(one.http, user_id="ann") == ids([there])
        assert await listed(one.http, label="a") == await listed(one.http, label="a=b") == ids([there])
        assert await listed(one.http, label="a=c") == []
        assert await listed(one.http, state="ended") == ids([over])
        assert await listed(one.http, state=["ended", "running"]) == ids([there, over, here])
        assert await listed(one.http, state="all", limit=1) == ids([there, over, here])
        assert await listed(one.http) == ids([there, here])


async def test_nobody_sees_sessions_of_others_in_a_list() -> None:
    async with two_nodes(keys=True) as (one, two, company), one.client("bob") as bob, two.client("ann") as ann:
        view = (await ann.post(SESSIONS, json={})).json()
        await company.tell(two)
        assert await listed(bob) == await listed(bob, user_id="ann") == await listed(bob, state="all", label="a") == []
        async with one.client("ann") as ann_at_one:
            assert await listed(ann_at_one) == await listed(ann_at_one, user_id="ann") == ids([view])
            assert await listed(ann_at_one, user_id="bob") == []


async def test_while_the_others_cannot_be_asked_own_sessions_are_listed_and_that_is_told() -> None:
    async with two_nodes() as (one, two, company):
        views = await created_in_turns(one, two, company, 6)
        company.directory.is_away = True
        answer = await one.http.get(SESSIONS, params={"limit": 2})
        assert (answer.status_code, answer.headers["x-incomplete"]) == (200, "true")
        assert ids(answer.json()) == ids(views[0:4:2])
        company.directory.is_away = False
        answer = await one.http.get(answer.links["next"]["url"])
        assert "x-incomplete" not in answer.headers
        assert ids(answer.json()) == ids(views[3:5])


async def test_an_entry_of_this_node_that_it_does_not_have_is_shown_until_it_is_forgotten() -> None:
    async with two_nodes() as (one, two, company):
        view = await two.create()
        await company.tell(two)
        [entry] = await company.directory.page(after=None, user=None, limit=10)
        await company.directory.save([replace(entry, node_id="one")])
        assert await listed(one.http) == ids([view])
        await company.directory.forget(view["session_id"], entry.user)
        assert await listed(one.http) == []


async def test_ten_thousand_sessions_are_listed_by_page_in_no_time() -> None:
    async with two_nodes(max_sessions=100) as (one, two, company):
        model = await two.sessions.create(SessionSpec(labels={"team": "ops"}), owner="ann")
        entry = entry_of(model, "two")
        await company.directory.save(
            [
                replace(
                    entry,
                    session_id=f"{number:036}",
                    created_at=model.created_at + number,
                    view=entry.view.replace(model.session_id.encode(), b"%036d" % number),
                )
                for number in range(10_000)
            ]
        )
        seconds, found, url = [], [], f"{SESSIONS}?limit=100"
        while url:
            began = time.process_time()
            answer = await one.http.get(url)
            seconds.append(time.process_time() - began)
            found += ids(answer.json())
            url = answer.links.get("next", {}).get("url", "")
        found.remove(model.session_id)
        assert found == [f"{number:036}" for number in range(10_000)]
        seconds.sort()
        assert seconds[len(seconds) // 2] < 0.05, seconds
        # All of them are looked at to find none.
        began = time.process_time()
        assert await listed(one.http, label="team=dev") == []
        assert time.process_time() - began < 1
