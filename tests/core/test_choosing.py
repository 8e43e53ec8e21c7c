"""A session that leaves it to the service runs where the rules say, or is told why nowhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.base import Capabilities
from backends.echo import EchoBackend
from backends.profile import EchoProfile, LocalProfile, Profile
from terminal_service.choosing import Choice, Needs, Rule, When
from terminal_service.errors import Forbidden, InvalidRequest
from terminal_service.places import Place, Places


class SshLike(Profile, tag="ssh", frozen=True, kw_only=True):
    """Of a kind that is reached by SSH."""


class KubernetesLike(Profile, tag="kubernetes", frozen=True, kw_only=True):
    """Of a kind that gives images, and what they need."""


class ContainerLike(Profile, tag="container", frozen=True, kw_only=True):
    """Of a kind that gives images."""


def place(profile: Profile, **abilities: bool) -> Place:
    backend = EchoBackend(name=profile.name)
    backend.capabilities = replace(Capabilities(), **abilities)
    return Place(profile.name, backend, profile)


class Chosen(Places):
    """Places of which the best is looked at."""

    def best(self, name: str | None, needs: Needs, user: str) -> Choice:
        return self.choose(name, needs, user)[0]


def make(**options: Any) -> Chosen:
    return Chosen(
        [
            place(LocalProfile(name="local"), signals=True, reattach=True),
            place(SshLike(name="build1"), files=True),
            place(SshLike(name="build2", users=("ann",)), files=True, reattach=True),
            place(ContainerLike(name="docker"), snapshot=True),
            place(KubernetesLike(name="gke"), files=True, reattach=True),
            place(EchoProfile(name="echo")),
        ],
        **options,
    )


@pytest.mark.parametrize(
    ("needs", "name", "because"),
    [
        (Needs(), "local", "nothing else"),
        (Needs(gpus=1), "gke", "GPUs"),
        (Needs(image="alpine"), "docker", "an image"),
        (Needs(image="alpine", gpus=2), "gke", "GPUs"),
        (Needs(needs_ssh=True), "build1", "SSH"),
        (Needs(needs_ssh=True, capabilities=("reattach",)), "build2", "SSH"),
        (Needs(expected_duration_minutes=59), "local", "nothing else"),
        (Needs(expected_duration_minutes=61), "gke", "an hour"),
        (Needs(long_lived=True, needs_ssh=True), "build1", "SSH"),
        (Needs(long_lived=True), "gke", "live long"),
        (Needs(cpus=0.5), "docker", "processors"),
        (Needs(memory_bytes=1 << 30), "docker", "memory"),
        (Needs(capabilities=("snapshot",)), "docker", "nothing else"),
    ],
)
def test_the_rules_lead_to_a_place_that_has_what_is_needed(needs: Needs, name: str, because: str) -> None:
    choice = make().best("auto", needs, "ann")
    assert choice.place.name == name
    assert because in choice.reason


def test_who_may_not_use_a_place_is_not_led_to_it() -> None:
    assert make().best("auto", Needs(needs_ssh=True), "bob").place.name == "build1"
    with pytest.raises(InvalidRequest) as refused:
        make().best("auto", Needs(needs_ssh=True, capabilities=("reattach",)), "bob")
    assert "build2" not in str(refused.value)
    assert "build1: it does not have the capability reattach" in str(refused.value)


def test_a_failing_place_is_passed_over_and_named() -> None:
    places = make()
    gke, docker = places.get("gke"), places.get("docker")
    assert gke is not None
    assert docker is not None
    docker.health.note("the daemon does not answer", 1.0)
    choice = places.best("auto", Needs(image="alpine"), "ann")
    assert choice.place is gke
    assert "(failing now: docker)" in choice.reason
    gke.health.note("401", 1.0)
    with pytest.raises(InvalidRequest) as refused:
        places.best("auto", Needs(image="alpine"), "ann")
    assert "docker: failing: the daemon does not answer" in str(refused.value)
    assert places.best("docker", Needs(image="alpine"), "ann").place is docker, "asked for by name it is tried"


def test_what_nothing_has_is_named() -> None:
    places = Chosen([place(LocalProfile(name="local")), place(EchoProfile(name="echo"))])
    with pytest.raises(InvalidRequest) as refused:
        places.best("auto", Needs(gpus=1), "ann")
    assert refused.value.field == "gpus"
    assert "local: it cannot give a session GPUs; echo: " in str(refused.value)


def test_rules_of_the_operator_replace_the_built_in_ones() -> None:
    rules = (
        Rule(use=("build2",), when=When(user="a*"), because="hers"),
        Rule(use=("echo",), when=When(expected_duration_minutes=5), having=("files",), because="never"),
        Rule(use=("echo",), when=When(expected_duration_minutes=5), because="a moment"),
    )
    places = make(rules=rules)
    assert places.best("auto", Needs(), "ann").reason == "rule 1: hers"
    chosen = places.best("auto", Needs(expected_duration_minutes=10), "bob")
    assert (chosen.place.name, chosen.reason) == ("echo", "rule 3: a moment")
    with pytest.raises(InvalidRequest, match="local: no rule leads to it"):
        places.best("auto", Needs(), "bob")


def test_by_name_what_it_cannot_give_is_refused_with_the_field() -> None:
    with pytest.raises(InvalidRequest) as refused:
        make().best("build1", Needs(image="alpine"), "ann")
    assert (refused.value.field, refused.value.reason) == (
        "image",
        "backend 'build1': it has no images to choose from",
    )


def test_by_name_only_its_users_may() -> None:
    assert make().best("build2", Needs(), "ann").reason == "asked for by name"
    with pytest.raises(Forbidden, match="its operator has not named 'bob' among its users"):
        make().best("build2", Needs(), "bob")
    with pytest.raises(InvalidRequest) as refused:
        make().best("moon", Needs(), "bob")
    assert "build2" not in refused.value.reason


def test_the_default_is_the_first_one_or_what_the_operator_says() -> None:
    assert make().best(None, Needs(), "bob").place.name == "local"
    assert make(default="docker").best(None, Needs(), "bob").place.name == "docker"
    assert make(default="build2").best(None, Needs(), "bob").place.name == "local", "which he may use"
    chosen = make(default="auto").best(None, Needs(image="alpine"), "bob")
    assert chosen.place.name == "docker"
    nobody = Chosen([place(LocalProfile(name="local", users=()))])
    with pytest.raises(Forbidden, match="no backend that you may use"):
        nobody.best(None, Needs(), "bob")
