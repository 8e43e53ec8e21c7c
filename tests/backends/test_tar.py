"""The tar format, against itself, Python's module and the real programs."""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.files.tar import BLOCK, END, BrokenTar, Decoder, Entry, EntryKind, Limits, RefusedTar, TarError, encode
from backends.files.tar_streams import TarReader, tar_of_file, write_tar
from support.tars import archive, by_tarfile, decode, file, info, record, said, sealed, trickle

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator
    from pathlib import Path

NAMES = st.binary(min_size=1, max_size=300).map(
    lambda data: data.replace(b"\0", b"x").rstrip(b"/").decode("utf-8", "surrogateescape") or "x"
)
NUMBERS = st.integers(0, 1 << 60)


@st.composite
def members(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(st.sampled_from(EntryKind))
    content = draw(st.binary(max_size=2000)) if kind is EntryKind.FILE else b""
    entry = Entry(
        name=draw(NAMES) + ("/" if kind is EntryKind.DIRECTORY else ""),
        kind=kind,
        size=len(content),
        mode=draw(st.integers(0, 0o7777)),
        modified_at=float(draw(st.integers(-(1 << 40), 1 << 40))),
        target=draw(NAMES) if kind in (EntryKind.LINK, EntryKind.HARD_LINK) else "",
        uid=draw(NUMBERS),
        gid=draw(NUMBERS),
    )
    return entry, content


@given(st.lists(members(), max_size=5), st.lists(st.integers(1, 3000), max_size=40))
def test_what_is_written_is_read_back_however_it_is_cut(written: list[tuple[Entry, bytes]], sizes: list[int]) -> None:
    assert decode(archive(*written), sizes) == written


@given(
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200).map(
        lambda name: name.strip("/") or "x"
    ),
    content=st.binary(max_size=1500),
    form=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    sizes=st.lists(st.integers(1, 700), max_size=40),
)
def test_archives_of_pythons_module_are_read(name: str, content: bytes, form: int, sizes: list[int]) -> None:
    [(entry, found)] = decode(by_tarfile((info(name), content), form=form), sizes)
    assert (entry.name, entry.kind, found) == (name, EntryKind.FILE, content)


@given(st.lists(members(), max_size=3), st.data())
def test_a_damaged_archive_is_refused_or_read_and_nothing_else(
    written: list[tuple[Entry, bytes]], data: st.DataObject
) -> None:
    damaged = bytearray(archive(*written))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=5)):
        damaged[at] = data.draw(st.integers(0, 255))
    block = data.draw(st.integers(0, len(damaged) // BLOCK - 1)) * BLOCK
    damaged[block : block + BLOCK] = sealed(damaged[block : block + BLOCK])
    try:
        decode(bytes(damaged))
    except TarError as error:
        assert str(error)  # noqa: PT017 - whether it is raised is chance


@given(st.lists(members(), min_size=1, max_size=3), st.floats(0, 1, exclude_max=True))
def test_an_archive_that_ends_too_early_is_never_taken_for_whole(
    written: list[tuple[Entry, bytes]], share: float
) -> None:
    whole = archive(*written)
    cut = whole[: int(len(whole) * share)]
    with pytest.raises(BrokenTar, match=r"too early|damaged|ends where"):
        decode(cut)


def test_long_names_and_targets_are_read_from_both_formats() -> None:
    long, target = "d/" * 80 + "ü" * 90, "t/" * 90 + "ö"
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        [(entry, _)] = decode(by_tarfile((info(long, tarfile.SYMTYPE, target), b""), form=form))
        assert (entry.name, entry.target, entry.kind) == (long, target, EntryKind.LINK)
    [(entry, _)] = decode(by_tarfile((info("d/" * 70 + "x"), b""), form=tarfile.USTAR_FORMAT))  # by its prefix
    assert entry.name == "d/" * 70 + "x"


def test_sizes_beyond_eight_gigabytes_are_read_from_both_formats() -> None:
    size = 20 << 30
    limits = Limits(total_bytes=1 << 40)
    for header in (
        encode(Entry("big", size=size)),
        said(b"x", record("size", str(size).encode())) + encode(Entry("big")),
    ):
        [entry] = Decoder(limits).feed(header)
        assert isinstance(entry, Entry)
        assert entry.size == size


def _with(**fields: bytes) -> bytes:
    """Make a header with some fields as they are given."""
    where = {"name": 0, "mode": 100, "size": 124, "mtime": 136, "flag": 156, "target": 157, "magic": 257}
    header = bytearray(encode(Entry("name", modified_at=1)))
    for field, data in fields.items():
        header[where[field] : where[field] + len(data)] = data
    return sealed(header)


UNFIT = {
    "negative size": _with(size=b"\xff" * 11 + b"\x00"),
    "negative size in octal": _with(size=b"-0000000001\0"),
    "size beyond all": _with(size=b"\x80" + b"\x7f" + b"\xff" * 10),
    "size over the limit": _with(size=b"77777777777\0"),
    "size that is no number": _with(size=b"0x0000000ff\0"),
    "size with blanks inside": _with(size=b"00 00 00 00\0"),
    "mode that is no number": _with(mode=b"rwxr-xr\0"),
    "directory with content": _with(flag=b"5", size=b"00000001000\0"),
    "link with content": _with(flag=b"2", size=b"00000001000\0"),
    "file that is a directory by its slash, with content": _with(name=b"name/", size=b"00000001000\0"),
    "kind that is not known": _with(flag=b"Z"),
    "sparse file of GNU": _with(flag=b"S"),
    "dumped directory of GNU": _with(flag=b"D"),
    "volume of many": _with(flag=b"M"),
    "no name": _with(name=b"\0" * 4),
    "wrong checksum": bytes(_with()[:148]) + b"000001\0 " + _with()[156:],
    "no tar at all": b"PK\x03\x04" + b"x" * 600,
    "sparse file of PAX": said(b"x", record("GNU.sparse.major", b"1")) + encode(Entry("sparse")),
    "negative size of PAX": said(b"x", record("size", b"-1")) + encode(Entry("x")),
    "signed size of PAX": said(b"x", record("size", b"+1")) + encode(Entry("x")),
    "underscored size of PAX": said(b"x", record("size", b"1_0")) + encode(Entry("x")),
    "endless size of PAX": said(b"x", record("size", b"9" * 5000)) + encode(Entry("x")),
    "size over the limit of PAX": said(b"x", record("size", b"9" * 18)) + encode(Entry("x")),
    "time that is no number": said(b"x", record("mtime", b"nan")) + encode(Entry("x")),
    "record of no length": said(b"x", b"0 path=x\n"),
    "record beyond its end": said(b"x", b"99 path=x\n"),
    "record without an end": said(b"x", b"9 path=xx"),
    "record without a value": said(b"x", b"8 paths\n"),
    "NUL in a name": said(b"x", record("path", b"good\0/../bad")) + encode(Entry("x")),
    "a name twice in PAX": said(b"x", record("path", b"a") + record("path", b"b")) + encode(Entry("x")),
    "a name twice in GNU": said(b"L", b"a\0") + said(b"L", b"b\0") + encode(Entry("x")),
    "a name in GNU and in PAX": said(b"L", b"a\0") + said(b"x", record("path", b"b")) + encode(Entry("x")),
    "one name for all": said(b"g", record("path", b"a")) + encode(Entry("x")),
    "one size for all": said(b"g", record("size", b"1")) + encode(Entry("x")),
    "a name of a megabyte": _with(flag=b"L", size=b"00004000000\0"),
    "a negative length of a name": _with(flag=b"L", size=b"\xff" * 12),
    "a name and no entry": said(b"L", b"a\0") + END,
    "something behind the end": END + encode(Entry("late")),
    "something behind half the end": bytes(BLOCK) + encode(Entry("late")),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_what_is_unfit_is_refused(unfit: str) -> None:
    with pytest.raises(TarError):
        decode(archive(file("before", b"1"))[: -len(END)] + UNFIT[unfit] + END, limits=Limits(total_bytes=1 << 20))


def test_an_archive_in_an_archive_does_not_hide_behind_a_size_of_pax() -> None:
    """CVE-2025-62518: the header says 0 bytes, PAX says the truth; who believes the header reads the inner entries."""
    inner = archive(file("inner", b"evil"))
    outer = bytearray(encode(Entry("outer")))
    data = said(b"x", record("size", str(len(inner)).encode())) + bytes(outer) + inner + END
    assert decode(data) == [(Entry("outer", size=len(inner)), inner)]


def test_entries_and_bytes_are_counted() -> None:
    data = archive(file("a", b"x" * 600), file("b", b"x" * 600))
    decode(data, limits=Limits(total_bytes=1200, entries=2))
    for limits in (Limits(total_bytes=1199), Limits(entries=1)):
        with pytest.raises(RefusedTar, match="more than"):
            decode(data, limits=limits)


async def test_a_reader_skips_what_is_not_read() -> None:
    data = archive(file("a", b"a" * 70_000), Entry("d/", EntryKind.DIRECTORY), file("b", b"bb" * 5000), file("c"))
    reader = TarReader(trickle(data, 1000))
    found = {}
    async for entry in reader:
        if entry.name != "a":
            found[entry.name] = b"".join([piece async for piece in _content(reader)])
        else:
            assert await reader.read()
    assert found == {"d/": b"", "b": b"bb" * 5000, "c": b""}


async def _content(reader: TarReader) -> AsyncIterator[bytes]:
    while piece := await reader.read():
        yield piece


async def test_a_reader_knows_a_cut() -> None:
    reader = TarReader(trickle(archive(file("a", b"a" * 5000))[:3000]))
    await anext(reader)
    with pytest.raises(BrokenTar):
        await anext(reader)


@pytest.mark.parametrize("content", [b"", b"four", b"sixsix"])
async def test_a_content_must_have_the_size_that_was_announced(content: bytes) -> None:
    with pytest.raises(RefusedTar, match="5 bytes"):
        async for _ in tar_of_file(Entry("a", size=5), trickle(content)):
            pass


TOOLS = {"gnu": ["tar"], "busybox": ["busybox", "tar"]}


@pytest.mark.platform("linux")
@pytest.mark.parametrize("tool", TOOLS)
def test_real_programs_read_what_is_written(tool: str, tmp_path: Path) -> None:
    odd = "n\newline 'quote\" \udcff -ü"
    files = {
        "plain": b"plain" * 1000,
        "-dash": b"",
        odd: b"odd",
        "/".join(["long" * 30] * 4) + "/file": b"deep",
    }

    async def written() -> AsyncIterator[tuple[Entry, AsyncIterable[bytes] | None]]:
        for name, content in files.items():
            entry, _ = file(f"./{name}", content, mode=0o640, modified_at=1_000_000_000)
            yield entry, trickle(content)
        yield Entry("./link", EntryKind.LINK, target="plain"), None
        yield Entry("./hard", EntryKind.HARD_LINK, target="./plain"), None
        yield Entry("./directory", EntryKind.DIRECTORY, mode=0o750), None
        yield Entry("./" + "far" * 50, EntryKind.LINK, target="long" * 40), None

    async def joined() -> bytes:
        return b"".join([piece async for piece in write_tar(written())])

    data = asyncio.run(joined())
    subprocess.run([*TOOLS[tool], "-x", "-f", "-", "-C", str(tmp_path)], input=data, check=True)
    assert {name: (tmp_path / name).read_bytes() for name in files} == files
    assert (tmp_path / "plain").stat().st_mtime == 1_000_000_000
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link").readlink().name == "plain"
    assert (tmp_path / "hard").samefile(tmp_path / "plain")
    assert (tmp_path / "directory").is_dir()
    assert str((tmp_path / ("far" * 50)).readlink()) == "long" * 40


FORMS = {
    "gnu": ["tar", "--format=gnu"],
    "pax": ["tar", "--format=pax"],
    "ustar": ["tar", "--format=ustar"],
    "v7": ["tar", "--format=v7"],
    "busybox": ["busybox", "tar"],
}


@pytest.mark.platform("linux")
@pytest.mark.parametrize("form", FORMS)
def test_what_real_programs_write_is_read(form: str, tmp_path: Path) -> None:
    long = "" if form in ("v7", "ustar") else "long" * 30
    names = ["plain", "-dash", "n\newline", "\udcff", f"directory/{long}file"]
    (tmp_path / "directory").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(name.encode("utf-8", "surrogateescape") * 1000)
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "same").hardlink_to(tmp_path / "plain")
    data = subprocess.run([*FORMS[form], "-c", "-f", "-", "-C", str(tmp_path), "."], stdout=-1, check=True).stdout
    found = {entry.name.removeprefix("./"): (entry, content) for entry, content in decode(data)}
    assert found["directory/"][0].kind is EntryKind.DIRECTORY
    assert (found["link"][0].kind, found["link"][0].target) == (EntryKind.LINK, "plain")
    second = found["same"] if found["same"][0].kind is EntryKind.HARD_LINK else found["plain"]
    assert second[0].target in ("./plain", "./same")
    for name in names:
        entry, content = found[name]
        if entry.kind is EntryKind.FILE:
            assert content == (tmp_path / name).read_bytes()
            assert abs(entry.modified_at - (tmp_path / name).stat().st_mtime) < 1
