"""Where a session runs that leaves it to the service: rules that are data, and why each place was taken or not."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from terminal_service.places import Place

AUTO = "auto"
"""The name of a backend that is none: the service chooses."""
DEFAULT = "default"
"""In `use`: the backend of a session that names none."""
ANY = "*"

_GIVES: Mapping[str, frozenset[str]] = {
    "container": frozenset({"image", "cpus", "memory_bytes", "gpus"}),
    "kubernetes": frozenset({"image", "cpus", "memory_bytes", "gpus"}),
    "workstations": frozenset({"needs_ssh"}),
    "ssh": frozenset({"needs_ssh"}),
}
"""What backends of a kind can give a session that asks for it; those of other kinds give none of it."""


@dataclass(frozen=True)
class Needs:
    """What a session asks of the place where it runs. None, or false: nothing."""

    needs_ssh: bool = False
    """A machine that is reached by SSH."""
    long_lived: bool = False
    """It should outlive lost links and restarts, if there is such a place."""
    expected_duration_minutes: float | None = None
    image: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None
    gpus: int | None = None
    capabilities: tuple[str, ...] = ()
    """What the place must be able to do (`backends.base.Capabilities`)."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions a rule is for: all that is given must hold."""

    needs_ssh: bool | None = None
    """Whether `needs_ssh` is asked."""
    long_lived: bool | None = None
    """Whether `long_lived` is asked."""
    expected_duration_minutes: float | None = None
    """At least so many minutes are expected."""
    image: str | None = None
    """The image asked for matches this pattern (`*`: there is one)."""
    cpus: float | None = None
    """At least so many processors are asked."""
    memory_bytes: int | None = None
    """At least so much memory is asked."""
    gpus: int | None = None
    """At least so many GPUs are asked."""
    user: str | None = None
    """The session's owner matches this pattern."""

    def holds(self, needs: Needs, user: str) -> bool:
        """Tell whether a session is meant."""
        for name in ("needs_ssh", "long_lived"):
            wanted = getattr(self, name)
            if wanted is not None and wanted != getattr(needs, name):
                return False
        for name in ("expected_duration_minutes", "cpus", "memory_bytes", "gpus"):
            least, asked = getattr(self, name), getattr(needs, name)
            if least is not None and (asked is None or asked < least):
                return False
        if self.image is not None and (needs.image is None or not fnmatchcase(needs.image, self.image)):
            return False
        return self.user is None or fnmatchcase(user, self.user)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where certain sessions belong."""

    use: tuple[str, ...]
    """Names or kinds of backends, the best first; `default`, and `*` for all."""
    because: str
    """Why, for people: it is part of `backend_reason`."""
    when: When = When()
    having: tuple[str, ...] = ()
    """What the backend must be able to do besides, as the capabilities are called."""


DEFAULT_RULES: Sequence[Rule] = (
    Rule(when=When(gpus=1), use=("kubernetes", "container"), because="it needs GPUs"),
    Rule(when=When(image="*"), use=("container", "kubernetes"), because="it needs an image"),
    Rule(when=When(needs_ssh=True), use=("workstations", "ssh"), because="it needs a machine that is reached by SSH"),
    Rule(
        when=When(expected_duration_minutes=60),
        use=("workstations", "kubernetes", "ssh", "local"),
        having=("reattach",),
        because="it is to run for an hour or more, and nothing is lost there with a link",
    ),
    Rule(
        when=When(long_lived=True),
        use=("kubernetes", "workstations", "ssh", "container", "local"),
        having=("reattach",),
        because="it is to live long, and nothing is lost there with a link",
    ),
    Rule(
        when=When(memory_bytes=1),
        use=("container", "kubernetes"),
        because="it needs memory of its own",
    ),
    Rule(when=When(cpus=0), use=("container", "kubernetes"), because="it needs processors of its own"),
    Rule(use=(DEFAULT, ANY), because="nothing else is asked of it"),
)
"""The rules where the file of backends has none; the first that fits, and leads to a place, holds."""


@dataclass(frozen=True)
class Choice:
    """A place, and why it is this one."""

    place: Place
    reason: str


@dataclass(eq=False)
class NothingFits(Exception):
    """No place may be used, is healthy, and has what is needed."""

    field: str
    """What was asked that no place has; `backend` if it is not one thing alone."""
    reasons: Mapping[str, str]
    """Why each place was not taken."""

    def __str__(self) -> str:
        """List the reasons."""
        return "nothing fits: " + ("; ".join(f"{name}: {why}" for name, why in self.reasons.items()) or "no backends")


def choose(
    places: Sequence[Place], default: Place | None, rules: Iterable[Rule], needs: Needs, user: str
) -> Sequence[Choice]:
    """Return where a session of a user belongs, of these places that they may use, the best first.

    Raises NothingFits.
    """
    refused = {place.name: refusal for place in places if (refusal := why_not(place, needs)) is not None}
    fitting = [place for place in places if place.name not in refused]
    choices: dict[str, Choice] = {}
    for number, rule in enumerate(rules, 1):
        if not rule.when.holds(needs, user):
            continue
        for place in _named(rule.use, fitting, default):
            if all(getattr(place.backend.capabilities, ability) for ability in rule.having):
                reason = f"rule {number}: {rule.because}{_passed_over(rule, places, refused)}"
                choices.setdefault(place.name, Choice(place, reason))
    if choices:
        return list(choices.values())
    unused = {place.name: "no rule leads to it" for place in fitting}
    fields = {field for field, _ in refused.values()}
    field = fields.pop() if len(fields) == 1 and not fitting else "backend"
    raise NothingFits(field, {name: why for name, (_, why) in refused.items()} | unused)


def why_not(place: Place, needs: Needs) -> tuple[str, str] | None:
    """Return the field that a place cannot fulfil, and why; None: it can."""
    unmet = why_never(place, needs)
    if unmet is None and place.health.is_failing:
        return "backend", f"failing: {place.health.reason}"
    return unmet


def why_never(place: Place, needs: Needs) -> tuple[str, str] | None:
    """Return the field that a place cannot fulfil even when it is healthy, and why; None: it can."""
    gives = _GIVES.get(place.kind, frozenset())
    for name in ("needs_ssh", "image", "cpus", "memory_bytes", "gpus"):
        if getattr(needs, name) and name not in gives:
            return name, _LACKS[name]
    for ability in needs.capabilities:
        if not getattr(place.backend.capabilities, ability):
            return "needs", f"it does not have the capability {ability}"
    return None


_LACKS = {
    "needs_ssh": "it is not reached by SSH",
    "image": "it has no images to choose from",
    "cpus": "it cannot give a session processors of its own",
    "memory_bytes": "it cannot give a session memory of its own",
    "gpus": "it cannot give a session GPUs",
}


def gives_of(place: Place) -> frozenset[str]:
    """Return the names of what a session may ask of a place for itself."""
    return _GIVES.get(place.kind, frozenset()) - {"needs_ssh"}


def _named(use: Iterable[str], places: Iterable[Place], default: Place | None) -> Iterable[Place]:
    """Return the places that are meant, in the order of `use`; echoes only where one is named."""
    places = list(places)
    for each in use:
        for place in places:
            is_meant = each in (place.name, place.kind) or (each == DEFAULT and place is default)
            if is_meant or (each == ANY and place.kind != "echo"):
                yield place


def _passed_over(rule: Rule, places: Iterable[Place], refused: Mapping[str, tuple[str, str]]) -> str:
    """Name those that the rule would have preferred but for their health."""
    failing = [p.name for p in places if p.name in refused and p.health.is_failing and {p.name, p.kind} & {*rule.use}]
    return f" (failing now: {', '.join(failing)})" if failing else ""
