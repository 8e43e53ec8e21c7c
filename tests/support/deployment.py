"""What the files of `deploy/` say, as data."""

from __future__ import annotations

import re
from typing import Any

import yaml

from support.service import ROOT
from terminal_service.settings import variables

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "terminal-service"
SETTINGS = frozenset(variable.name.upper() for variable in variables())
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:[-?])([^}]*))?\})")


def interpolate(text: str, environment: dict[str, str]) -> str:
    """Return a text with its variables, as compose would; a variable that is needed and not given is a KeyError."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if name is None:
            return "$"
        if environment.get(name):
            return environment[name]
        if kind == ":-":
            return str(rest)
        raise KeyError(name)

    return _VARIABLE.sub(value, text)


def compose(environment: dict[str, str]) -> dict[str, Any]:
    """Return `compose.yaml` with its variables."""
    text = "\n".join(line for line in (DEPLOY / "compose.yaml").read_text().splitlines() if not line.startswith("#"))
    read: dict[str, Any] = yaml.safe_load(interpolate(text, environment))
    return read


def values(name: str) -> dict[str, Any]:
    """Return values of the chart: `values`, `ci/values` or `ci/everything`."""
    read: dict[str, Any] = yaml.safe_load((CHART / f"{name}.yaml").read_text())
    return read
