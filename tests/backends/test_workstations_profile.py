"""What an operator may say of workstations, and what they are called."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from backends.workstations.names import ID, label, workstation_id
from backends.workstations.profile import WorkstationsProfile

GIVEN = {
    "kind": "workstations",
    "project": "a-project",
    "region": "europe-west1",
    "cluster": "cluster",
    "config": "config",
    "trust": "tunnel",
}


def convert(**fields: Any) -> WorkstationsProfile:
    return msgspec.convert(GIVEN | fields, WorkstationsProfile)


def test_the_least_that_must_be_said_is_enough() -> None:
    profile = convert()
    assert (profile.user, profile.port, profile.stop_after_seconds) == ("user", 22, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", "../other"),
        ("project", "Big"),
        ("region", "europe-west1/../x"),
        ("cluster", "a/b"),
        ("config", ""),
        ("workstation", "-x"),
        ("name_prefix", "x" * 41),
        ("api_endpoint", "http://somewhere"),
        ("user", "-oProxyCommand=x y"),
        ("port", 0),
        ("token_seconds", 86_401),
        ("ping_seconds", 0),
        ("stop_after_seconds", -1),
        ("warn_before_seconds", [0]),
        ("max_connections", 0),
    ],
)
def test_what_cannot_be_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError, match=f"^{field}: "):
        convert(**{field: value})


@pytest.mark.parametrize("fields", [{"trust": ""}, {"host_keys": ["ssh-ed25519 AAAA"]}])
def test_what_is_believed_of_host_keys_must_be_said(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"^host_keys: "):
        convert(**fields)


@pytest.mark.parametrize("owner", ["", "ann", "Ann@Example.org", "é" * 80, "-" * 70, "x" * 300, "\ud800"])
def test_every_owner_has_a_workstation_of_its_own(owner: str) -> None:
    name = workstation_id("ts", owner)
    assert ID.fullmatch(name)
    assert name == workstation_id("ts", owner)
    assert name != workstation_id("ts", owner + " ")
    assert ID.fullmatch(workstation_id("a" * 40, owner))


def test_names_say_whose_they_are() -> None:
    assert workstation_id("ts", "Ann@Example.org").startswith("ts-ann-example-org-")
    assert label("Node_1.example.org") == "node-1-example-org"
