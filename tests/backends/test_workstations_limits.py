"""When Google stops a workstation, and when that is said: with a clock of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backends.workstations.api import Rules
from backends.workstations.limits import Limits, span

if TYPE_CHECKING:
    from backends.base import Notice

HOUR, MINUTE = 3600.0, 60.0
START = 1_800_000_000.0


def make_limits(idle: float = 20 * MINUTE, running: float = 12 * HOUR, started_at: float | None = START) -> Limits:
    return Limits("ws-1", Rules(idle, running, takes_tcp=True), started_at, (600.0, 60.0))


def said(limits: Limits, until: float, sent_at: float | None = None) -> list[tuple[float, Notice]]:
    """Let time pass as the watch does; `sent_at` None: there is always traffic."""
    now, notices = START, []
    while now <= START + until:
        traffic = now if sent_at is None else sent_at
        notices += [(now - START, notice) for notice in limits.due(now, traffic)]
        next_at = limits.next_at(now, traffic)
        now = min(next_at or float("inf"), now + 30)
    return notices


def test_the_end_of_the_running_time_is_said_ten_minutes_and_one_minute_before() -> None:
    notices = said(make_limits(), 13 * HOUR)
    assert [at for at, _ in notices] == [12 * HOUR - 600, 12 * HOUR - 60]
    first = notices[0][1]
    assert first.kind == "ending_soon"
    assert first.message == (
        "workstation ws-1 will be stopped in 10 min: its configuration lets it run for 12 h at a time"
    )
    assert first.fields == {"limit": "running", "seconds": 600, "ends_at": START + 12 * HOUR}


def test_who_comes_late_hears_how_much_is_left_once() -> None:
    limits = make_limits()
    now = START + 12 * HOUR - 300
    (notice,) = limits.due(now, now)
    assert notice.fields["seconds"] == 300
    assert list(limits.due(now + 1, now)) == []


def test_idleness_is_said_and_traffic_takes_it_back() -> None:
    limits = make_limits(running=0)
    assert [at for at, _ in said(limits, 30 * MINUTE, sent_at=START)] == [10 * MINUTE, 19 * MINUTE]
    typed_at = START + 19.5 * MINUTE
    assert list(limits.due(typed_at + 1, typed_at)) == []
    (again,) = limits.due(typed_at + 10 * MINUTE, typed_at)
    assert "without traffic" in again.message
    assert "unless something is typed" in again.message


def test_traffic_keeps_the_idle_time_from_being_said() -> None:
    assert said(make_limits(running=0), 2 * HOUR) == []


@pytest.mark.parametrize("limits", [make_limits(0, 0), make_limits(0, started_at=None)], ids=["off", "not known"])
def test_without_limits_nothing_is_said(limits: Limits) -> None:
    assert said(limits, 48 * HOUR, sent_at=START) == []
    assert limits.next_at(START, START) is None
    assert limits.reached(START + 48 * HOUR, START) == ""


def test_the_limit_that_was_reached_is_named() -> None:
    limits = make_limits()
    assert limits.reached(START + HOUR, START + HOUR) == ""
    assert limits.reached(START + HOUR, START) == "its configuration stops it after 20 min without traffic"
    assert "12 h" in limits.reached(START + 12 * HOUR, START + 12 * HOUR)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "60 s"), (60, "1 min"), (90, "90 s"), (599.7, "10 min"), (1200, "20 min"), (43200, "12 h")],
)
def test_times_are_said_as_people_do(seconds: float, words: str) -> None:
    assert span(seconds) == words
