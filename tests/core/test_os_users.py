"""Rules from owners to users of the machine: the setting, and what comes of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar

import pytest

from backends.echo import EchoBackend, EchoEnvironment
from support.house import running
from terminal_service.errors import Forbidden
from terminal_service.os_users import OsUsers
from terminal_service.settings import Settings, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from backends.base import Order, Program, Pty, Sink

pytestmark = pytest.mark.platform("linux")

HOLDER = "/run/terminal-service/holder"


def rules(text: str) -> OsUsers:
    return Settings.from_environment({"OS_USERS": text, "HOLDER": HOLDER}).os_users


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {"ann": None, "root": None}),
        ("ann=ann", {"ann": "ann", "bob": None, "*": None}),
        (" ann = build , *=guest,", {"ann": "build", "bob": "guest", "root": "guest"}),
        ("*=*", {"ann": "ann", "ann@example.com": "ann@example.com", "root": None, "-x": None, ".x": None}),
        ("root=root,*=*", {"root": "root", "ann": "ann"}),
        ("ann=EXAMPLE\\ann,bob=host$", {"ann": "EXAMPLE\\ann", "bob": "host$"}),
    ],
)
def test_an_owner_runs_as_who_the_rules_say_and_root_only_by_name(text: str, found: dict[str, str | None]) -> None:
    users = rules(text)
    assert {owner: users.find(owner) for owner in found} == found
    assert bool(users) == bool(text)


@pytest.mark.parametrize(
    "text", ["ann", "ann=", "=ann", "ann=a,ann=b", "ann=*", "ann=-x", "ann=a b", "a b=x", "ann=a:b", "ann=a/b", "*=a=b"]
)
def test_a_wrong_rule_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^OS_USERS=.* is wrong; allowed: owner=user"):
        rules(text)


def test_what_cannot_work_is_refused_with_the_reason() -> None:
    with pytest.raises(SettingsError, match="OS_USERS needs a holder: "):
        Settings.from_environment({"OS_USERS": "*=guest", "HOLDER": "off"})
    if os.geteuid() == 0:
        Settings.from_environment({"OS_USERS": "*=guest"})
    else:
        with pytest.raises(SettingsError, match="OS_USERS needs a holder that root runs"):
            Settings.from_environment({"OS_USERS": "*=guest"})


class RecordingEnvironment(EchoEnvironment):
    """Remembers as whom programs are to run."""

    asked: ClassVar[list[str | None]] = []

    async def spawn(self, program: Program, sink: Sink) -> Pty:
        self.asked.append(program.user)
        return await super().spawn(program, sink)


class RecordingBackend(EchoBackend):
    async def open(self, order: Order) -> EchoEnvironment:  # noqa: ARG002 - nothing is provisioned
        return RecordingEnvironment(self._open, self._limit)


async def test_a_session_is_started_as_its_owners_user_or_not_at_all(directory: Path) -> None:
    users = OsUsers((("ann", "build"),))
    async with running(directory, RecordingBackend(), os_users=users, holder=HOLDER) as house:
        await house.create()
        assert RecordingEnvironment.asked == ["build"]
        with pytest.raises(Forbidden, match="OS_USERS names no user"):
            await house.create(owner="bob")
        assert len(list(house.sessions.all())) == 1
