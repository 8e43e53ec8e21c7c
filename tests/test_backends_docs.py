"""What the pages about backends say is what the code does."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from backends.profile import EchoProfile
from support.backend_fields import FILE, text
from terminal_service.backends_app import KINDS, close_backends, find_profile, make_backends
from terminal_service.backends_file import read_backends_file
from terminal_service.choosing import DEFAULT_RULES, Rule, When
from terminal_service.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from terminal_service.backends_file import BackendsFile

EXAMPLE = FILE.parents[1] / "deploy" / "backends.example.toml"
PAGE = (FILE.parent / "backends.md").read_text(encoding="utf-8")


def test_the_table_of_fields_is_what_the_program_writes() -> None:
    assert text() == FILE.read_text(encoding="utf-8"), "run tests/support/backend_fields.py and look at the difference"


def read(path: Path, example: str) -> BackendsFile:
    path.write_text(example, encoding="utf-8")
    return read_backends_file(path, KINDS, find_profile, always=("local", "echo"))


@pytest.mark.parametrize("language", ["toml", "yaml"])
def test_the_examples_are_read(tmp_path: Path, language: str) -> None:
    examples = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        file = read(tmp_path / f"{number}.{language}", example)
        assert file.profiles or file.rules is not DEFAULT_RULES


def test_the_example_file_has_every_kind(tmp_path: Path) -> None:
    file = read(tmp_path / "example.toml", EXAMPLE.read_text(encoding="utf-8"))
    assert {type(profile) for profile in file.profiles} == {find_profile(kind) for kind in KINDS} - {EchoProfile}


def test_the_table_of_rules_is_the_built_in_one() -> None:
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    assert [tuple(row[1:]) for row in rows] == [row_of(rule) for rule in DEFAULT_RULES]


def row_of(rule: Rule) -> tuple[str, str, str]:
    held = {name: getattr(rule.when, name) for name in When.__struct_fields__}
    when = ", ".join(f"`{name}` {value}" for name, value in held.items() if value is not None) or "always"
    use = " ".join(f"`{name}`" for name in rule.use)
    having = f" (with {', '.join(f'`{name}`' for name in rule.having)})" if rule.having else ""
    return when, use + having, rule.because


async def test_a_service_can_be_started_with_the_example(tmp_path: Path) -> None:
    settings = Settings(backends_file=EXAMPLE, state_dir=tmp_path, holder="off")
    places = await asyncio.to_thread(make_backends, settings, {}, "node")
    assert list(places.names) == ["local", "build1", "workstation", "gke", "sandbox", "echo"]
    assert [place.backend.name for place in places] == list(places.names)
    await close_backends(settings, places, ends_all=False)
