from __future__ import annotations

import itertools
from typing import get_args

import pytest

from terminal_service import wire
from terminal_service.policy import (
    FOR_EVERYBODY,
    MESSAGES,
    ON_SERVICE,
    ON_SESSION,
    Action,
    Decision,
    Identity,
    Role,
    attach_action,
    decide,
    may_send,
)

LOCAL = Identity("ann", "local", is_admin=True)
ANN = Identity("ann", "api_key")
BOB = Identity("bob", "api_key")

LOOKS = Identity("ann", "ticket", is_admin=True, role=Role.VIEWER)
TYPES = Identity("ann", "ticket", role=Role.WRITER)

# Every cell is written down, so that a change of the policy is a change of this table.
#                       own      other's   unknown
TABLE = {
    (LOCAL, "session"): ("allow", "allow", "hide"),
    (BOB, "session"): ("allow", "hide", "hide"),
    (None, "session"): ("deny", "deny", "deny"),
}


def test_every_action_is_classified() -> None:
    assert set(Action) == ON_SERVICE | ON_SESSION
    assert not ON_SERVICE & ON_SESSION


@pytest.mark.parametrize("action", sorted(ON_SESSION, key=str))
@pytest.mark.parametrize("identity", [LOCAL, BOB, None])
def test_actions_on_a_session(action: Action, identity: Identity | None) -> None:
    own = identity.user if identity else "ann"
    answers = tuple(decide(identity, action, owner).value for owner in (own, "carol", None))
    assert answers == TABLE[identity, "session"]


@pytest.mark.parametrize("action", sorted(ON_SERVICE - FOR_EVERYBODY, key=str))
def test_actions_on_the_service_need_an_identity(action: Action) -> None:
    assert decide(None, action, None) is Decision.DENY
    assert decide(ANN, action, None) is Decision.ALLOW
    assert decide(LOCAL, action, None) is Decision.ALLOW


def test_health_and_the_empty_pages_of_console_and_documentation_are_for_everybody() -> None:
    assert {Action.HEALTH, Action.DOCS_PAGE, Action.CONSOLE} == FOR_EVERYBODY
    for identity, owner, action in itertools.product((None, ANN, LOCAL), (None, "ann", "bob"), FOR_EVERYBODY):
        assert decide(identity, action, owner) is Decision.ALLOW


def test_only_an_admin_creates_and_lists_for_others() -> None:
    assert decide(ANN, Action.CREATE, "ann") is Decision.ALLOW
    assert decide(ANN, Action.CREATE, "bob") is Decision.DENY
    assert decide(ANN, Action.LIST, "bob") is Decision.HIDE
    assert decide(LOCAL, Action.CREATE, "bob") is Decision.ALLOW
    assert decide(LOCAL, Action.LIST, "bob") is Decision.ALLOW


def test_the_same_name_proved_in_another_way_is_the_same_user_but_no_admin() -> None:
    assert decide(ANN, Action.END, LOCAL.user) is Decision.ALLOW
    assert decide(ANN, Action.END, "root") is Decision.HIDE


def test_who_shows_a_ticket_may_attach_in_its_role_and_nothing_else() -> None:
    for action in Action:
        for owner in (None, "ann", "bob"):
            looks, types = decide(LOOKS, action, owner), decide(TYPES, action, owner)
            may_look = action in FOR_EVERYBODY or (action is Action.ATTACH_READER and owner is not None)
            assert (looks is Decision.ALLOW) == may_look
            may_type = action in FOR_EVERYBODY or (action is Action.ATTACH_WRITER and owner == "ann")
            assert (types is Decision.ALLOW) == may_type


@pytest.mark.parametrize("role", list(Role))
def test_a_viewer_only_looks(role: Role) -> None:
    writes = {"input", "resize", "signal"}
    looks = {"ack", "mode", "ping", "pong", "window_update", "detach"}
    assert set(MESSAGES) == writes | looks
    allowed = {message for message in MESSAGES if may_send(role, message)}
    assert allowed == (looks if role is Role.VIEWER else writes | looks)
    assert not may_send(role, "unheard_of")


def test_every_message_a_client_can_send_is_classified() -> None:
    sent_by_clients = {str(each.__struct_config__.tag) for each in get_args(wire.ClientMessage)}
    assert sent_by_clients == set(MESSAGES)


def test_attaching_is_an_action_of_its_own_for_writers_and_viewers() -> None:
    assert attach_action(Role.VIEWER) is Action.ATTACH_READER
    assert attach_action(Role.WRITER) is attach_action(Role.OWNER) is Action.ATTACH_WRITER
