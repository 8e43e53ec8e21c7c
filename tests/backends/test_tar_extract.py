"""Unpacking what nobody trusts: every attack on an unpacker that is known, and a few more."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.abilities import FileError, FileTrouble
from backends.files.extract import Extraction, extract
from backends.files.tar import BrokenTar, Entry, EntryKind, Limits, RefusedTar, TarError
from support.tars import archive, file, trickle
from support.wait import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.platform("linux", "darwin")

LINK, HARD, DIRECTORY = EntryKind.LINK, EntryKind.HARD_LINK, EntryKind.DIRECTORY


def link(name: str, target: str) -> Entry:
    return Entry(name, LINK, target=target)


def hard(name: str, target: str) -> Entry:
    return Entry(name, HARD, target=target)


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """Give a directory to unpack into; beside it is what must not be touched."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "outside" / "secret").chmod(0o600)
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


def assert_nothing_outside(inside: Path) -> None:
    outside = inside.parent / "outside"
    assert sorted(each.name for each in inside.parent.iterdir()) == ["inside", "outside"]
    assert [each.name for each in outside.iterdir()] == ["secret"]
    secret = outside / "secret"
    assert (secret.read_text(), secret.stat().st_mode & 0o777, secret.stat().st_nlink) == ("secret", 0o600, 1)
    root = inside.resolve()
    for directory, directories, files in os.walk(inside):
        for name in [*directories, *files]:
            real = os.path.realpath(root.parent / directory / name)  # of links in a circle too
            assert f"{real}/".startswith(f"{root}/"), f"{name} leads outside"


async def test_files_directories_and_links_are_made(inside: Path) -> None:
    count = await extract(
        trickle(
            archive(
                Entry("./", DIRECTORY, mode=0o700),
                Entry("./empty/", DIRECTORY, mode=0o500),
                file("./a/b/script", b"#!/bin/sh\n" * 9000, mode=0o4777, modified_at=1_000_000_000.5),
                file("./-odd\n\udcff", b"odd", mode=0o400),
                link("./a/up", "../empty"),
                link("./a/dangling", "b/nothing"),
                hard("./again", "./a/b/script"),
                file("./none"),
            ),
            100,
        ),
        inside,
    )
    assert count == 8
    script = inside / "a" / "b" / "script"
    assert script.read_bytes() == b"#!/bin/sh\n" * 9000
    assert (script.stat().st_mode & 0o7777, script.stat().st_mtime) == (0o755, 1_000_000_000)
    assert (inside / "-odd\n\udcff").stat().st_mode & 0o777 == 0o400
    assert (inside / "a" / "up").resolve() == (inside / "empty").resolve()
    assert (inside / "a" / "dangling").readlink().name == "nothing"
    assert (inside / "again").samefile(script)
    assert (inside / "empty").is_dir()
    assert (inside / "none").read_bytes() == b""
    assert_nothing_outside(inside)


ATTACKS: dict[str, list[Entry | tuple[Entry, bytes]]] = {
    "absolute name": [file("/outside/x", b"x")],
    "absolute name by many slashes": [file("//outside/x", b"x")],
    "up and out (CVE-2018-1002100)": [file("../outside/x", b"x")],
    "up from below": [file("a/../../outside/x", b"x")],
    "up and back in": [file("../inside/x", b"x")],
    "only up": [Entry("..", DIRECTORY)],
    "itself as a file": [file(".", b"x")],
    "itself as a link": [link("./", "../outside")],
    "link outside (CVE-2019-1002101)": [link("a", "../outside"), file("a/x", b"x")],
    "absolute link": [link("a", "/etc"), file("a/x", b"x")],
    "link to the root by dots": [link("d/a", "../../outside")],
    "link over a link (CVE-2019-11246)": [link("a", "."), link("a/b", ".."), file("a/b/outside/x", b"x")],
    "link whose dots come after a name (CVE-2019-11249)": [
        Entry("d/e", DIRECTORY),
        link("d/e/c", "../.."),
        link("d/x", "e/c/../outside"),
    ],
    "chain of links (CVE-2019-11251, CVE-2025-4330)": [
        Entry("d" * 200 + "/" + "e" * 200, DIRECTORY),
        link("a", "d" * 200),
        link("b", "a/" + "e" * 200 + "/../../.."),
        file("b/outside/x", b"x"),
    ],
    "long link that no realpath resolves (CVE-2025-4517)": [
        *[Entry("/".join(["d" * 247] * depth), DIRECTORY) for depth in range(1, 17)],
        link("escape", "/".join(["d" * 247] * 16) + "/../" * 20 + "outside"),
        hard("escaped", "escape/secret"),
    ],
    "empty link": [link("a", "")],
    "file over a link": [link("a", "b"), file("a", b"x")],
    "file through a link inside": [file("d/f", b"f"), link("a", "d"), file("a/x", b"x")],
    "hard link outside": [hard("a", "../outside/secret")],
    "absolute hard link": [hard("a", "/etc/passwd")],
    "hard link to a link (CVE-2026-11940)": [link("d/a", "../b"), hard("c", "d/a")],
    "hard link through a link": [Entry("d", DIRECTORY), link("a", "d"), hard("c", "a/x")],
    "hard link to a directory": [Entry("d", DIRECTORY), hard("c", "d")],
    "hard link to nothing": [hard("c", "d")],
    "hard link to the root": [hard("c", ".")],
    "the same file twice": [file("a", b"1"), file("a", b"2")],
    "a file written through a hard link": [file("a", b"1"), hard("b", "a"), file("b", b"2")],
    "a file that is a directory later": [file("a", b"1"), file("a/b", b"2")],
    "a directory that is a file later": [file("a/b", b"1"), file("a", b"2")],
    "a directory that is a link later": [file("a/b", b"1"), link("a", "c")],
    "a device": [Entry("a", EntryKind.BLOCK_DEVICE)],
    "a character device": [Entry("a", EntryKind.CHARACTER_DEVICE)],
    "a pipe": [Entry("a", EntryKind.PIPE)],
    "deep": [file("d/" * 300 + "x", b"x")],
    "a name longer than a system has": [file("n" * 300, b"x")],
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_an_attack_is_refused(attack: str, inside: Path) -> None:
    with pytest.raises((RefusedTar, FileError)):
        await extract(trickle(archive(file("first", b"1"), *ATTACKS[attack])), inside)
    assert_nothing_outside(inside)


STEPS = st.lists(st.sampled_from(["a", "b", "c", "..", "."]), min_size=1, max_size=4).map("/".join)
ENTRIES = st.one_of(
    STEPS.map(lambda name: file(name, b"x")),
    STEPS.map(lambda name: (Entry(name, DIRECTORY), b"")),
    st.tuples(STEPS, STEPS).map(lambda names: (link(*names), b"")),
    st.tuples(STEPS, STEPS).map(lambda names: (hard(*names), b"")),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.lists(ENTRIES, max_size=6), max_size=2))
def test_no_archive_leads_outside(inside: Path, archives: list[list[tuple[Entry, bytes]]]) -> None:
    """Two archives into one directory, one after the other, the second on top of the links of the first."""
    for entries in archives:
        extraction = Extraction()
        try:
            extraction.open(inside)
            extraction.feed(archive(*entries))
            extraction.finish()
        except (TarError, FileError):
            pass
        finally:
            extraction.close()
        assert_nothing_outside(inside)
    subprocess.run(["find", str(inside), "-mindepth", "1", "-delete"], check=True)


async def test_links_that_are_there_already_are_not_walked_through(inside: Path) -> None:
    (inside / "a").symlink_to("../outside")
    for entry in (file("a/x", b"x"), Entry("a/d", DIRECTORY), Entry("a", DIRECTORY), link("a/l", "x"), file("a", b"x")):
        with pytest.raises((RefusedTar, FileError)):
            await extract(trickle(archive(entry)), inside)
    (inside / "a").unlink()
    assert_nothing_outside(inside)


async def test_what_exists_is_not_replaced(inside: Path) -> None:
    (inside / "a").write_text("mine")
    with pytest.raises(FileError) as caught:
        await extract(trickle(archive(file("a", b"theirs"))), inside)
    assert caught.value.trouble is FileTrouble.EXISTS
    assert (inside / "a").read_text() == "mine"


async def test_it_stops_at_its_limits(inside: Path) -> None:
    data = archive(file("a", b"x" * 1000), file("b", b"x" * 1000))
    with pytest.raises(RefusedTar, match="more than 1500 bytes"):
        await extract(trickle(data), inside, Limits(total_bytes=1500))
    assert not (inside / "b").exists()


async def test_an_archive_that_is_cut_is_an_error(inside: Path) -> None:
    with pytest.raises(BrokenTar):
        await extract(trickle(archive(file("a", b"x" * 5000))[:2000]), inside)


async def test_a_missing_directory_is_an_error(inside: Path) -> None:
    with pytest.raises(FileError) as caught:
        await extract(trickle(archive()), inside / "missing")
    assert caught.value.trouble is FileTrouble.MISSING


async def test_it_can_be_cancelled_at_any_time(inside: Path) -> None:
    given_pieces = threading.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield archive(file("a", b"x" * (1 << 20)))[: 1 << 19]
        given_pieces.set()
        await asyncio.Event().wait()

    extracting = asyncio.create_task(extract(endless(), inside))
    await wait_until(given_pieces.is_set, description="a piece was taken")
    extracting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await extracting
    # That no descriptor is left open is looked at behind every test.


@pytest.mark.platform("linux")
@pytest.mark.parametrize("tool", [["tar"], ["busybox", "tar"]], ids=["gnu", "busybox"])
def test_a_real_tree_comes_back_as_it_was(tool: list[str], inside: Path) -> None:
    source = inside / "source"
    (source / "directory" / "below").mkdir(parents=True)
    (source / "directory" / "below" / "x").write_bytes(os.urandom(100_000))
    (source / "directory" / ("long" * 40)).write_text("long")
    (source / "directory" / "link").symlink_to("below/x")
    (source / "same").hardlink_to(source / "directory" / "below" / "x")
    data = subprocess.run([*tool, "-c", "-f", "-", "-C", str(source), "."], stdout=-1, check=True).stdout
    target = inside / "target"
    target.mkdir()
    asyncio.run(extract(trickle(data), target))
    subprocess.run(["diff", "-r", "--no-dereference", str(source), str(target)], check=True)
    assert (target / "same").samefile(target / "directory" / "below" / "x")
