"""What an operator writes of places is what there is, or one line says what is wrong with it."""

from __future__ import annotations

import asyncio
import tomllib
from typing import TYPE_CHECKING

import pytest
import yaml

from backends.profile import EchoProfile, LocalProfile
from terminal_service.backends_app import KINDS, StartError, find_profile, make_backends
from terminal_service.backends_file import BackendsFile, BackendsFileError, read_backends_file
from terminal_service.choosing import DEFAULT_RULES
from terminal_service.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = """
default = "auto"

[backends.local]
kind = "local"
users = ["ann"]

[backends.demo]
kind = "echo"
description = "for a look around"

[[rules]]
use = ["demo"]
when = { gpus = 2, image = "cuda*", user = "team-*" }
because = "demonstrations"
"""


def read(path: Path, text: str) -> BackendsFile:
    path.write_text(text)
    return read_backends_file(path, KINDS, find_profile, always=("local", "echo"))


def refusal(path: Path, text: str) -> str:
    with pytest.raises(BackendsFileError) as caught:
        read(path, text)
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith(f"BACKENDS_FILE {path}: ")
    return told.removeprefix(f"BACKENDS_FILE {path}: ")


def test_profiles_rules_and_the_default_are_read(tmp_path: Path) -> None:
    file = read(tmp_path / "backends.toml", EXAMPLE)
    assert file.profiles == [
        LocalProfile(name="local", users=("ann",)),
        EchoProfile(name="demo", description="for a look around"),
    ]
    assert file.default == "auto"
    (rule,) = file.rules
    assert (rule.use, rule.when.gpus, rule.when.image) == (("demo",), 2, "cuda*")


def test_yaml_says_the_same_by_its_suffix(tmp_path: Path) -> None:
    text = yaml.safe_dump(tomllib.loads(EXAMPLE), sort_keys=False)
    assert read(tmp_path / "backends.yaml", text) == read(tmp_path / "backends.toml", EXAMPLE)


@pytest.mark.parametrize("name", ["empty.toml", "empty.yml"])
def test_an_empty_file_says_nothing(tmp_path: Path, name: str) -> None:
    for text in ("", "# nothing\n"):
        assert read(tmp_path / name, text) == BackendsFile([], "", DEFAULT_RULES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[backends.x]\n", "[backends.x] kind: is missing; allowed: ssh, workstations, "),
        ("[backends.x]\nkind = 'telnet'\n", "[backends.x] kind: 'telnet' is wrong; allowed: ssh, "),
        ("[backends.x]\nkind = 'echo'\nname = 'y'\n", "[backends.x] name: it is the table's name"),
        ("[backends.x]\nkind = 'echo'\nhots = 'y'\n", "[backends.x] hots: there is no such field"),
        ("[backends.x]\nkind = 'echo'\nusers = 'ann'\n", "[backends.x] users: Expected `array`, got `str`"),
        ("[backends.x]\nkind = 'echo'\nusers = ['a', 1]\n", "[backends.x] users[1]: Expected `str`, got `int`"),
        ("[backends.here]\nkind = 'local'\n", "[backends.here] kind: there is one machine of this kind"),
        ("[backends.local]\nkind = 'echo'\n", "[backends.local] kind: a backend of this name is of the kind local"),
        ("[backends.auto]\nkind = 'echo'\n", "[backends.auto]: a name has 1 to 63 of"),
        ("[backends.'a b']\nkind = 'echo'\n", "[backends.a b]: a name has 1 to 63 of"),
        ("[backends]\nx = 1\n", "[backends.x]: expected a table"),
        ("backends = 1\n", "[backends]: expected a table for each backend"),
        ("backend = 1\n", "'backend' is not known; there are [backends.NAME], [[rules]] and default"),
        ("default = 'x'\n", "default: 'x' is wrong; allowed: local, echo, auto"),
        ("rules = 1\n", "[[rules]]: expected a list of tables"),
        ("[[rules]]\nbecause = 'x'\n", "[[rules]] 1 use: is missing"),
        ("[[rules]]\nuse = ['moon']\nbecause = 'x'\n", "[[rules]] 1 use: 'moon' is wrong; allowed: *, container, "),
        ("[[rules]]\nuse = []\nbecause = ''\nwhen = {gpus = 'x'}\n", "[[rules]] 1 when.gpus: Expected `int | null`"),
        ("[[rules]]\nuse = []\nbecause = ''\nwhen = {gpu = 1}\n", "[[rules]] 1 when.gpu: there is no such field"),
        ("[[rules]]\nuse = []\nbecause = ''\nhaving = ['x']\n", "[[rules]] 1 having: 'x' is wrong; allowed: exec, "),
        ("x", "Expected '=' after a key"),
    ],
)
def test_what_is_wrong_is_named_with_its_table_and_field(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(tmp_path / "backends.toml", text).startswith(told)


@pytest.mark.parametrize(
    ("text", "told"), [("- x", "it must be a table"), ("a: [", "while parsing"), ("1: x", "it must")]
)
def test_wrong_yaml_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    assert refusal(tmp_path / "backends.yml", text).startswith(told)


def test_a_file_that_is_not_there_keeps_the_service_from_starting(tmp_path: Path) -> None:
    settings = Settings(backends_file=tmp_path / "none.toml", state_dir=tmp_path)
    with pytest.raises(StartError, match=r"none\.toml: cannot be read: No such file or directory"):
        make_backends(settings, {}, "n")


async def test_this_machine_is_first_and_an_echo_last(tmp_path: Path) -> None:
    (tmp_path / "backends.toml").write_text(EXAMPLE)
    settings = Settings(backends_file=tmp_path / "backends.toml", state_dir=tmp_path, holder="off")
    places = await asyncio.to_thread(make_backends, settings, {}, "n")
    assert list(places.names) == ["local", "demo", "echo"]
    assert [place.backend.name for place in places] == ["local", "demo", "echo"]
    assert [place.name for place in places.of_user("bob")] == ["demo", "echo"]
    assert [place.name for place in places.of_user("ann")] == ["local", "demo", "echo"]
