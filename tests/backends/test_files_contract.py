"""What all files promise (backends/abilities.py), held against those of each place."""

from __future__ import annotations

import asyncio
import posixpath
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from backends.abilities import FileError, FileKind, FileTrouble
from backends.errors import InvalidProgram
from backends.files.by_commands import ExecFiles
from support.places import DIRECTORY, local_place, placed
from support.tars import trickle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from support.elsewhere import FarEnvironment, FarPlace
    from support.places import Place

pytestmark = pytest.mark.platform("linux")

ODD_NAMES = [
    "plain",
    "two words",
    "-n",
    "--",
    "-",
    "*",
    "?[a]",
    "~",
    "$HOME",
    "$(touch oops)",
    "`touch oops`",
    "'quote",
    '"quotes"',
    "back\\slash\\n\\0101",
    "new\nline",
    "last is a new line\n",
    "%s%n",
    "ü 漢字 🙂",
    " ",
    "...",
    ".hidden",
    "a//b".replace("/", "\\"),
    "n" * 255,
]
ODD_BYTES = [bytes(range(1, 47)), bytes(range(48, 256)), b"\xff", b"caf\xe9"]


@pytest.fixture(params=["coreutils", "busybox", "sparse"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with local_place(request.param, tmp_path) as place:
        yield place


async def read(place: Place, name: str, offset: int = 0) -> bytes:
    return await read_from(place, place / name, offset)


async def read_from(place: Place, path: str, offset: int = 0) -> bytes:
    return b"".join([piece async for piece in place.files.read(path, offset=offset)])


async def write(place: Place, name: str, data: bytes = b"", mode: int = 0o644) -> int:
    return await place.files.write(place / name, trickle(data), mode=mode)


async def trouble(call: Awaitable[object], path: str) -> FileTrouble:
    """Return what is wrong; the path must be the one the caller knows."""
    with pytest.raises(FileError) as caught:
        await call
    assert caught.value.path == path, str(caught.value)
    assert caught.value.reason
    return caught.value.trouble


async def test_what_is_written_is_read(place: Place) -> None:
    for size in (0, 1, 65_537, 262_144, 3_000_000):
        data = (bytes(range(251)) * (size // 251 + 1))[:size]
        assert await write(place, "file", data) == size
        pieces = [piece async for piece in place.files.read(place / "file")]
        assert b"".join(pieces) == data
        assert max(map(len, pieces), default=0) <= 256 * 1024
        assert (await place.files.stat(place / "file")).size == size


async def test_reading_begins_at_an_offset(place: Place) -> None:
    data = bytes(range(250)) * 400
    await write(place, "file", data)
    for offset in (0, 1, 65_536, 99_999, 100_000, 200_000):
        assert await read(place, "file", offset) == data[offset:]


async def test_odd_names_are_names(place: Place) -> None:
    names = [*ODD_NAMES, *(name.decode("utf-8", "surrogateescape") for name in ODD_BYTES)]
    for name in names:
        await write(place, name, name.encode("utf-8", "surrogateescape"))
    assert await place.names() == sorted(names)
    for name in names:
        assert await read(place, name) == name.encode("utf-8", "surrogateescape")
    for name in ("-n", "new\nline", "last is a new line\n", "*", names[-1]):
        assert (await place.files.stat(place / name)).kind is FileKind.FILE
        await place.files.rename(place / name, place / f"{name}.moved")
        await place.files.remove(place / f"{name}.moved")
        await place.files.make_directory(place / name)
        assert await place.files.list(place / name) == []
        await place.files.remove(place / name, recursive=True)
        names.remove(name)
    assert await place.names() == sorted(names)


async def test_any_bytes_are_names(place: Place) -> None:
    names = [bytes(range(128, 256)).decode("utf-8", "surrogateescape"), "-n '\"$x\n"]
    for name in names:
        await write(place, name, b"x")
        assert await read(place, name) == b"x"
    assert await place.names() == sorted(names)


async def test_what_is_at_a_path_is_told(place: Place) -> None:
    await write(place, "file", b"four", mode=0o751)
    await place.files.make_directory(place / "directory")
    await place.sh("chmod 1700 directory; ln -s 'fi le -> x' link; ln -s directory over; mkfifo pipe")
    found = {info.path.rpartition("/")[2]: info for info in await place.files.list(place.directory)}
    assert list(found) == ["directory", "file", "link", "over", "pipe"]
    assert [found[name].kind for name in found] == [
        FileKind.DIRECTORY,
        FileKind.FILE,
        FileKind.LINK,
        FileKind.LINK,
        FileKind.OTHER,
    ]
    assert (found["file"].size, found["file"].mode) == (4, 0o751)
    assert found["directory"].mode == 0o1700
    assert (found["link"].target, found["over"].target, found["file"].target) == ("fi le -> x", "directory", "")
    assert abs(found["file"].modified_at - time.time()) < 150  # not everything knows more than minutes
    for name, info in found.items():
        assert info.path == place / name
        assert await place.files.stat(place / name) == info


async def test_old_files_have_their_time(place: Place) -> None:
    await write(place, "old")
    await place.sh("touch -t 200102030405 old")
    assert abs((await place.files.stat(place / "old")).modified_at - 981_173_100) < 2 * 86_400


async def test_many_files_are_listed_by_name(place: Place) -> None:
    await place.sh("i=0; while [ $i -lt 300 ]; do : >file-$i; i=$((i+1)); done")
    assert await place.names() == sorted(f"file-{number}" for number in range(300))


async def test_paths_begin_at_home_or_at_the_root(place: Place) -> None:
    home = (await place.sh("cd && pwd -P")).decode().rstrip("\n")
    near = posixpath.relpath(place.directory, home)
    await place.files.write(f"{near}/file", trickle(b"home"))
    assert await read(place, "file") == b"home"
    assert [info.path for info in await place.files.list(near)] == [f"{near}/file"]
    assert (await place.files.stat(f"{near}/")).kind is FileKind.DIRECTORY
    assert (await place.files.stat("/")).kind is FileKind.DIRECTORY
    found = {info.path.rpartition("/")[2] for info in await place.files.list(".")}
    assert found == set((await place.sh("cd && ls -A")).decode().split("\n")) - {""}


async def test_what_is_missing_is_said(place: Place) -> None:
    files, gone, below = place.files, place / "gone", place / "gone/below"
    for path in (gone, below):
        assert await trouble(files.stat(path), path) is FileTrouble.MISSING
        assert await trouble(files.list(path), path) is FileTrouble.MISSING
        assert await trouble(anext(aiter(files.read(path))), path) is FileTrouble.MISSING
        assert await trouble(files.remove(path), path) is FileTrouble.MISSING
        assert await trouble(files.remove(path, recursive=True), path) is FileTrouble.MISSING
        assert await trouble(files.rename(path, place / "new"), path) is FileTrouble.MISSING
    assert await trouble(files.write(below, trickle(b"x")), below) is FileTrouble.MISSING
    assert await trouble(files.make_directory(below), below) is FileTrouble.MISSING
    await write(place, "file")
    assert await trouble(files.rename(place / "file", below), below) is FileTrouble.MISSING
    assert await place.names() == ["file"]


async def test_what_is_of_the_wrong_kind_is_said(place: Place) -> None:
    files, file, directory = place.files, place / "file", place / "directory"
    await write(place, "file", b"kept")
    await files.make_directory(directory)
    assert await trouble(anext(aiter(files.read(directory))), directory) is FileTrouble.WRONG_KIND
    assert await trouble(files.write(directory, trickle(b"x")), directory) is FileTrouble.WRONG_KIND
    assert await trouble(files.list(file), file) is FileTrouble.WRONG_KIND
    for path in (f"{file}/below", f"{file}/below/that"):
        assert await trouble(files.stat(path), path) in (FileTrouble.WRONG_KIND, FileTrouble.MISSING)
        assert await trouble(files.write(path, trickle(b"x")), path) in (FileTrouble.WRONG_KIND, FileTrouble.MISSING)
    assert await place.names() == ["directory", "file"]
    assert await place.files.list(directory) == []
    assert await read(place, "file") == b"kept"


async def test_a_directory_is_made_once_or_with_all_above_it(place: Place) -> None:
    files, directory = place.files, place / "a"
    await files.make_directory(directory)
    assert await trouble(files.make_directory(directory), directory) is FileTrouble.EXISTS
    await files.make_directory(directory, parents=True)
    await files.make_directory(place / "b/c/d", parents=True)
    assert (await files.stat(place / "b/c/d")).kind is FileKind.DIRECTORY
    await write(place, "file")
    file = place / "file"
    assert await trouble(files.make_directory(file), file) is FileTrouble.EXISTS
    assert await trouble(files.make_directory(file, parents=True), file) is FileTrouble.EXISTS


async def test_what_is_removed_is_gone_and_nothing_else(place: Place) -> None:
    files = place.files
    await files.make_directory(place / "full/below", parents=True)
    await write(place, "full/below/file", b"kept")
    await write(place, "full/.hidden")
    await place.sh("ln -s full link; ln -s nothing dangling")
    await files.remove(place / "link")
    await files.remove(place / "dangling", recursive=True)
    assert await read(place, "full/below/file") == b"kept"
    for path in (place / "full", place / "full/below"):
        assert await trouble(files.remove(path), path) is FileTrouble.NOT_EMPTY
    await files.remove(place / "full/below/file")
    await files.remove(place / "full/below")
    assert await trouble(files.remove(place / "full"), place / "full") is FileTrouble.NOT_EMPTY
    await files.make_directory(place / "full/below")
    await place.sh("ln -s / full/below/root; ln -s ../.. full/up; : >beside")
    await files.remove(place / "full", recursive=True)
    assert await place.names() == ["beside"]


async def test_a_file_is_moved_over_another_one(place: Place) -> None:
    await write(place, "a", b"a")
    await write(place, "b", b"b")
    await place.files.rename(place / "a", place / "b")
    assert await place.names() == ["b"]
    assert await read(place, "b") == b"a"
    await place.files.rename(place / "b", place / "b")
    assert await read(place, "b") == b"a"


async def test_a_directory_is_moved_and_moved_over_nothing(place: Place) -> None:
    files = place.files
    await files.make_directory(place / "a")
    await write(place, "a/file", b"x")
    await files.make_directory(place / "b")
    await write(place, "b/file", b"y")
    await write(place, "c", b"z")
    assert await trouble(files.rename(place / "c", place / "b"), place / "b") is FileTrouble.WRONG_KIND
    assert await trouble(files.rename(place / "a", place / "b"), place / "b") is FileTrouble.EXISTS
    assert await trouble(files.rename(place / "a", place / "c"), place / "c") is FileTrouble.WRONG_KIND
    await files.rename(place / "a", place / "d")
    assert await place.names() == ["b", "c", "d"]
    assert [await read(place, name) for name in ("b/file", "c", "d/file")] == [b"y", b"z", b"x"]


async def test_a_link_is_moved_and_replaced_itself(place: Place) -> None:
    await place.files.make_directory(place / "directory")
    await place.sh("ln -s directory link; ln -s directory other")
    await place.files.rename(place / "link", place / "other")
    assert await place.names() == ["directory", "other"]
    assert await place.files.list(place / "directory") == []


async def test_a_file_is_written_behind_a_link_and_the_link_stays(place: Place) -> None:
    await place.files.make_directory(place / "directory")
    await write(place, "directory/file", b"old")
    await place.sh("ln -s directory/file link; ln -s link other")
    await write(place, "other", b"new")
    assert await read(place, "directory/file") == b"new"
    assert await place.names() == ["directory", "link", "other"]
    found = [(info.path.rpartition("/")[2], info.kind) for info in await place.files.list(place.directory)]
    assert found == [("directory", FileKind.DIRECTORY), ("link", FileKind.LINK), ("other", FileKind.LINK)]
    assert [info.path for info in await place.files.list(place / "directory")] == [place / "directory/file"]


async def test_a_file_keeps_its_content_until_the_new_one_is_complete(place: Place) -> None:
    await write(place, "file", b"old", mode=0o600)
    between = asyncio.Event()
    go_on = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(300_000)
        between.set()
        await go_on.wait()
        yield b"end"

    writing = asyncio.create_task(place.files.write(place / "file", pieces(), mode=0o640))
    await between.wait()
    assert await read(place, "file") == b"old"
    go_on.set()
    assert await writing == 300_003
    assert await read(place, "file") == bytes(300_000) + b"end"
    assert (await place.files.stat(place / "file")).mode == 0o640
    assert await place.names() == ["file"]


async def test_a_broken_transfer_changes_nothing(place: Place) -> None:
    await write(place, "file", b"old")

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(500_000)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await place.files.write(place / "file", pieces())
    assert await read(place, "file") == b"old"
    assert await place.names() == ["file"]


async def test_a_cancelled_transfer_changes_nothing(place: Place) -> None:
    await write(place, "file", b"old")
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(500_000)
        begun.set()
        await asyncio.Event().wait()

    writing = asyncio.create_task(place.files.write(place / "file", pieces()))
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await read(place, "file") == b"old"
    assert await place.names() == ["file"]


async def test_reading_may_be_broken_off(place: Place) -> None:
    await place.sh("head -c 30000000 /dev/zero >big")
    pieces = place.files.read(place / "big")
    assert await anext(aiter(pieces))
    await pieces.aclose()  # type: ignore[attr-defined] # all are generators
    assert await place.names() == ["big"]


OF_THE_WAY = (
    test_what_is_written_is_read,
    test_any_bytes_are_names,
    test_paths_begin_at_home_or_at_the_root,
    test_what_is_missing_is_said,
    test_a_broken_transfer_changes_nothing,
    test_a_cancelled_transfer_changes_nothing,
    test_reading_may_be_broken_off,
)
"""What depends on the way there too, where the same commands do it that are tested above: each takes its time."""


async def test_elsewhere_all_of_it_is_kept(far: FarPlace, tmp_path: Path) -> None:
    """All of the above, at once and in one environment, which costs more to open than the tests."""
    async with far(tmp_path) as environment:
        rules: Sequence[Callable[[Place], Awaitable[None]]] = [
            rule for name, rule in globals().items() if name.startswith("test_") and "elsewhere" not in name
        ]
        if isinstance(environment.files(), ExecFiles):
            rules = OF_THE_WAY
        calls = [_keep(rule, environment, f"{DIRECTORY} {number}") for number, rule in enumerate(rules)]
        failures = [failure for failure in await asyncio.gather(*calls) if failure]
    if failures:
        raise ExceptionGroup("not all is kept", failures)


async def _keep(
    rule: Callable[[Place], Awaitable[None]], environment: FarEnvironment, directory: str
) -> Exception | None:
    try:
        async with placed(environment.files(), environment, directory) as place:
            await rule(place)
    except Exception as error:  # noqa: BLE001 - all are raised together
        error.add_note(f"in {rule.__name__}")
        return error
    return None


async def test_no_file_has_such_a_name(place: Place) -> None:
    for path in ("", "a\0b"):
        for call in (
            partial(place.files.stat, path),
            partial(place.files.list, path),
            partial(read_from, place, path),
            partial(place.files.write, path, trickle(b"x")),
            partial(place.files.make_directory, path),
            partial(place.files.remove, path, recursive=True),
            partial(place.files.rename, place.directory, path),
        ):
            with pytest.raises(InvalidProgram):
                await call()
