"""A session's states and its time to live, on clocks that jump."""

from __future__ import annotations

from typing import Any

import pytest

from support.manual import ManualTime
from support.words import make_words
from terminal_service.journal import BOOT, Journal
from terminal_service.session import LIVING, Session, SessionSpec, State

TTL = 3600.0


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


def make(time: ManualTime, *, ttl: float = TTL, lifetime: float = 0.0, **spec: Any) -> Session:
    return Session("id", "ann", SessionSpec(**spec), ttl_seconds=ttl, max_lifetime_seconds=lifetime, clock=time.clock)


def test_states_only_move_forward_and_are_kept_with_reason_and_time(time: ManualTime) -> None:
    session = make(time)
    began = time.clock.wall()
    assert session.enter(State.PREPARING, "starting")
    time.advance(5)
    assert session.enter(State.RUNNING, "started")
    assert not session.enter(State.PREPARING, "again")
    assert not session.enter(State.RUNNING, "again")
    time.advance(5)
    assert session.enter(State.ENDED, "exited")
    assert not session.enter(State.ERROR, "late")
    assert not session.enter(State.LOST, "late")
    assert [(change.state, change.reason, change.at - began) for change in session.history] == [
        (State.PENDING, "requested", 0),
        (State.PREPARING, "starting", 0),
        (State.RUNNING, "started", 5),
        (State.ENDED, "exited", 10),
    ]
    assert session.over.is_set()
    assert session.uptime == 10
    time.advance(100)
    assert (session.uptime, session.seconds_since_end) == (10, 100)


@pytest.mark.parametrize("state", [state for state in State if state not in LIVING])
def test_every_way_to_end_is_an_end(time: ManualTime, state: State) -> None:
    session = make(time)
    assert session.is_living
    assert session.expires_at is not None
    assert not session.over.is_set()
    session.enter(state, "because")
    assert not session.is_living
    assert session.expires_at is None
    assert session.over.is_set()


def test_it_expires_after_its_ttl_without_activity(time: ManualTime) -> None:
    session = make(time)
    time.advance(TTL - 1)
    assert session.expiry_reason is None
    time.advance(1)
    assert session.expiry_reason == "ttl"


@pytest.mark.parametrize("source", ["input", "resize", "keepalive", "viewer", "update"])
def test_activity_lets_the_ttl_count_from_now_and_says_what_it_was(time: ManualTime, source: str) -> None:
    session = make(time)
    assert session.last_bump == "created"
    time.advance(TTL - 1)
    session.bump(source)
    assert (session.last_bump, session.last_activity) == (source, time.clock.wall())
    assert session.expires_at == time.clock.wall() + TTL
    time.advance(TTL - 1)
    assert session.expiry_reason is None
    time.advance(1)
    assert session.expiry_reason == "ttl"


def test_activity_never_shortens_a_ttl(time: ManualTime) -> None:
    session = make(time)
    latest = session.deadline
    for seconds in (0, 1, 0, 700, 0.001, 0):
        time.advance(seconds)
        session.bump("input")
        assert session.deadline >= latest
        latest = session.deadline


def test_being_watched_is_no_activity_without_keepalive(time: ManualTime) -> None:
    session = make(time, keepalive=False)
    time.advance(TTL / 2)
    session.bump("viewer")
    assert session.last_bump == "created"
    session.bump("input")
    assert session.last_bump == "input"


def test_an_ended_session_is_not_active_any_more(time: ManualTime) -> None:
    session = make(time)
    session.enter(State.ENDED, "exited")
    time.advance(50)
    session.bump("viewer")
    assert (session.last_bump, session.last_activity) == ("created", session.created_at)


def test_the_lifetime_is_absolute(time: ManualTime) -> None:
    session = make(time, lifetime=2.5 * TTL)
    for _ in range(4):
        time.advance(TTL / 2)
        session.bump("input")
    assert session.expires_at == session.created_at + 2.5 * TTL
    time.advance(TTL / 2)
    session.bump("input")
    assert session.expiry_reason == "lifetime"
    assert make(time).deadline == time.seconds + TTL, "a lifetime of 0 is without end"


def test_a_new_ttl_counts_from_the_last_activity(time: ManualTime) -> None:
    session = make(time, ttl=60)
    time.advance(30)
    session.ttl_seconds = 24 * 3600.0
    session.bump("update")
    time.advance(24 * 3600 - 1)
    assert session.expiry_reason is None
    session.ttl_seconds = 10.0
    session.bump("update")
    assert session.expires_at == time.clock.wall() + 10
    time.advance(10)
    assert session.expiry_reason == "ttl"


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 10 * 365 * 86400.0])
def test_a_jump_of_the_wall_clock_changes_no_deadline(time: ManualTime, jump: float) -> None:
    session = make(time, lifetime=3 * TTL)
    time.advance(100)
    session.bump("input")
    deadline = session.deadline
    time.wall_offset += jump
    assert session.deadline == deadline
    assert session.expiry_reason is None
    assert session.expires_at == time.clock.wall() + TTL, "what is shown follows the clock on the wall"
    assert session.uptime == 100
    session.bump("input")
    assert session.deadline == deadline
    time.advance(TTL)
    assert session.expiry_reason == "ttl"
    session.enter(State.ENDED, "ttl")
    time.wall_offset -= jump
    assert session.seconds_since_end == 0


def test_a_restored_session_keeps_its_age_and_its_end(time: ManualTime) -> None:
    wall = time.clock.wall()
    session = make(time)
    history = [(State.PENDING, "requested", wall - 500), (State.ENDED, "exited", wall - 100)]
    session.restore_history(history, created_at=wall - 500, last_activity=wall - 200)
    assert (session.state, session.seconds_since_end, session.uptime) == (State.ENDED, 100, 400)
    assert session.over.is_set()


def test_a_session_from_the_future_of_the_wall_clock_is_new(time: ManualTime) -> None:
    wall = time.clock.wall()
    session = make(time)
    session.restore_history([(State.ENDED, "exited", wall + 5000)], created_at=wall + 4000, last_activity=wall + 4500)
    assert session.seconds_since_end == 0


# -- the next process


def restored(time: ManualTime, words: memoryview, *, boot: int = BOOT, lifetime: float = 0.0) -> Session:
    session = make(time, lifetime=lifetime)
    record_created = time.clock.wall() - 60
    session.restore_history(
        [(State.RUNNING, "started", record_created)], created_at=record_created, last_activity=record_created
    )
    session.restore_activity(Journal(words, boot=boot))
    return session


def test_the_ttl_goes_on_to_the_moment_in_the_next_process(time: ManualTime) -> None:
    words = make_words()
    session = make(time)
    session.restore_activity(Journal(words))
    time.advance(100.25)
    session.bump("input")
    time.advance(20)
    time.wall_offset += 5_000  # somebody sets the clock
    later = restored(time, words)
    assert later.deadline == pytest.approx(session.deadline, abs=1e-6)
    assert later.last_bump == "input"
    assert later.uptime == pytest.approx(120.25, abs=1e-6)
    assert later.last_activity == pytest.approx(time.clock.wall() - 20, abs=1e-6)
    time.advance(TTL - 20 - 0.001)
    assert later.expiry_reason is None
    time.advance(0.002)
    assert later.expiry_reason == "ttl"


def test_the_lifetime_goes_on_in_the_next_process_though_nothing_was_done(time: ManualTime) -> None:
    words = make_words()
    make(time).restore_activity(Journal(words))
    time.advance(50)
    later = restored(time, words, lifetime=100)
    assert later.last_bump == "created"
    time.advance(49.9)
    assert later.expiry_reason is None
    time.advance(0.2)
    assert later.expiry_reason == "lifetime"


def test_every_next_process_stores_activity_for_the_one_after(time: ManualTime) -> None:
    words = make_words()
    make(time).restore_activity(Journal(words))
    for source in ("input", "keepalive", "resize"):
        time.advance(10)
        session = restored(time, words)
        session.bump(source)
        assert restored(time, words).last_bump == source
        assert restored(time, words).deadline == pytest.approx(session.deadline, abs=1e-6)


def test_after_the_machine_was_started_anew_only_the_record_counts(time: ManualTime) -> None:
    words = make_words()
    make(time).restore_activity(Journal(words))
    time.advance(10)
    later = restored(time, words, boot=BOOT ^ 1)
    assert (later.last_bump, later.uptime) == ("created", 60)
