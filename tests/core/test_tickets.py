"""Tickets: single use, bound, short-lived, few, and nothing of them is kept that could be shown again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodes.memory_tickets import MemoryTickets
from support.http_service import Time
from terminal_service.errors import LimitReached
from terminal_service.policy import Identity, Role
from terminal_service.tickets import LIFE_SECONDS, USER_LIMIT, Tickets, Use

ANN = Identity("ann", "api_key")
BEARER = Identity("ann", "ticket", role=Role.WRITER)
USE = Use("a-session", Role.WRITER, "https://app.example.com")
FITS = ("a-session", Role.WRITER, "https://app.example.com")


async def test_a_ticket_is_who_asked_for_it_once() -> None:
    tickets = Tickets(MemoryTickets())
    secret = await tickets.issue(ANN, USE)
    assert await tickets.redeem(secret, *FITS) == BEARER
    assert await tickets.redeem(secret, *FITS) is None


@pytest.mark.parametrize(
    "shown",
    [
        ("another-session", Role.WRITER, "https://app.example.com"),
        ("a-session", Role.VIEWER, "https://app.example.com"),
        ("a-session", Role.OWNER, "https://app.example.com"),
        ("a-session", Role.WRITER, "https://other.example.com"),
        ("a-session", Role.WRITER, None),
    ],
)
async def test_a_ticket_shown_for_something_else_is_used_up(shown: tuple[str, Role, str | None]) -> None:
    tickets = Tickets(MemoryTickets())
    secret = await tickets.issue(ANN, USE)
    assert await tickets.redeem(secret, *shown) is None
    assert await tickets.redeem(secret, *FITS) is None


async def test_what_a_ticket_leaves_open_fits() -> None:
    tickets = Tickets(MemoryTickets())
    admin = replace(ANN, is_admin=True)
    for origin in (None, "https://app.example.com"):
        secret = await tickets.issue(admin, replace(USE, role=Role.VIEWER, origin=None))
        expected = Identity("ann", "ticket", is_admin=True, role=Role.VIEWER)
        assert await tickets.redeem(secret, "a-session", None, origin) == expected


@pytest.mark.parametrize(
    "secret", ["", "x", "x" * 43, "x" * 100_000, "\ud800".encode("utf-8", "replace").decode(), "é\0"]
)
async def test_what_is_no_ticket_is_none(secret: str) -> None:
    tickets = Tickets(MemoryTickets())
    await tickets.issue(ANN, USE)
    assert await tickets.redeem(secret, *FITS) is None


async def test_a_ticket_is_good_for_thirty_seconds_and_forgotten_then() -> None:
    time = Time()
    store = MemoryTickets(time.clock.monotonic)
    tickets = Tickets(store)
    early, late = await tickets.issue(ANN, USE), await tickets.issue(ANN, USE)
    time.ahead = LIFE_SECONDS - 1
    assert await tickets.redeem(early, *FITS) == BEARER
    time.ahead = LIFE_SECONDS + 1
    assert await tickets.redeem(late, *FITS) is None
    assert not store._kept
    assert not store._counts


async def test_a_user_has_so_many_at_once_and_others_have_their_own() -> None:
    time = Time()
    store = MemoryTickets(time.clock.monotonic)
    tickets = Tickets(store)
    issued = [await tickets.issue(ANN, USE) for _ in range(USER_LIMIT)]
    assert len(set(issued)) == USER_LIMIT
    with pytest.raises(LimitReached):
        await tickets.issue(ANN, USE)
    await tickets.issue(Identity("bob", "api_key"), USE)
    assert await tickets.redeem(issued[0], *FITS) == BEARER  # the oldest is as good as ever
    await tickets.issue(ANN, USE)
    time.ahead = LIFE_SECONDS + 1
    await tickets.issue(ANN, USE)
    assert len(store._kept) == 1


async def test_only_hashes_are_kept() -> None:
    store = MemoryTickets()
    secret = await Tickets(store).issue(ANN, USE)
    assert len(secret) >= 43  # 256 bits
    assert secret not in repr(vars(store))
