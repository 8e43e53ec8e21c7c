"""The words beside a log: zero at first, kept with it, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replay.errors import LogDamaged
from replay.file import FileStore
from support.heirs import NAME, RETENTION_BYTES, RING_BYTES, Heir, Writer, retained
from support.snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay.log import Log


def fill_cells(log: Log) -> list[int]:
    values = [2**64 - 1 - 7 * number for number in range(496)]
    for number, value in enumerate(values):
        log.cells[number] = value
    return values


def test_cells_are_zero_and_kept_with_the_log(writer: Writer, heir: Heir) -> None:
    assert (writer.log.cells.format, writer.log.cells.itemsize) == ("Q", 8)
    assert writer.log.cells.tolist() == [0] * 496
    values = fill_cells(writer.log)
    writer.read_to(2 * RING_BYTES)
    log = heir.inherit(writer.path.read_bytes())
    assert log.cells.tolist() == values
    assert retained(log) == retained(writer.log), "cells and output do not touch each other"
    log.close()
    writer.log.close()


def test_cells_stay_in_the_file_while_output_is_in_memory(writer: Writer, heir: Heir) -> None:
    cells = writer.log.cells
    elsewhere = writer.path.parent.rename(writer.path.parent.with_name("elsewhere"))
    writer.read_to(RING_BYTES // 2 + 10)
    assert writer.log.degraded is not None
    assert writer.log.cells is cells
    values = fill_cells(writer.log)
    log = heir.inherit((elsewhere / "main.ring").read_bytes())
    assert log.cells.tolist() == values
    log.close()
    writer.log.close()


@pytest.fixture
def late(tmp_path: Path) -> tuple[Log, Path, Callable[[], object]]:
    """Begin a log without room; return it with the path of its file and what makes room."""
    directory = tmp_path / "logs"
    store = FileStore(directory)
    directory.rmdir()
    log = store.create(NAME, RETENTION_BYTES)
    assert log.degraded is not None
    return log, directory / "session" / "main.ring", directory.mkdir


def test_a_log_begun_in_memory_takes_its_cells_into_its_file(
    late: tuple[Log, Path, Callable[[], object]], heir: Heir
) -> None:
    log, path, make_room = late
    assert log.cells.tolist() == [0] * 496
    values = fill_cells(log)
    log.append(b"early\n")
    make_room()
    snapshots = Snapshots(path, lambda: None)
    with snapshots.at_every_line():
        assert log.reserve_storage()
        log.append(b"and more\n")
        assert log.cells.tolist() == values
        assert log.restore_storage()
    log.cells[0] = 4711
    assert path.read_bytes() != snapshots.taken[-1][0], "from now on they are those of the file"
    log.close()
    whole = 0
    for content, _ in snapshots.taken:
        try:
            taken_over = heir.inherit(content)
        except LogDamaged:
            assert not whole, "what is valid stays valid"
        else:
            whole += 1
            assert retained(taken_over) == b"early\nand more\n"
            assert taken_over.cells.tolist() == values
            taken_over.close()
    assert whole
