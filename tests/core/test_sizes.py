"""Whose size a terminal has."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from terminal_service.sizes import Size, SizePolicy, choose_size


@dataclass
class Viewer:
    size: Size | None
    size_order: int = 0
    is_owner: bool = False


CURRENT = Size(24, 80)
SMALL, WIDE, TALL, SILENT = (
    Viewer(Size(10, 40), 1),
    Viewer(Size(20, 200), 3, is_owner=True),
    Viewer(Size(90, 60), 2),
    Viewer(None, 9, is_owner=True),
)


@pytest.mark.parametrize(
    ("policy", "viewers", "expected"),
    [
        (SizePolicy.SMALLEST, [], CURRENT),
        (SizePolicy.SMALLEST, [SILENT], CURRENT),
        (SizePolicy.SMALLEST, [WIDE], Size(20, 200)),
        (SizePolicy.SMALLEST, [WIDE, TALL, SILENT], Size(20, 60)),
        (SizePolicy.SMALLEST, [WIDE, TALL, SMALL], Size(10, 40)),
        (SizePolicy.LATEST, [SMALL, WIDE, TALL, SILENT], Size(20, 200)),
        (SizePolicy.LATEST, [SMALL, TALL], Size(90, 60)),
        (SizePolicy.LATEST, [], CURRENT),
        (SizePolicy.OWNER, [SMALL, WIDE, TALL], Size(20, 200)),
        (SizePolicy.OWNER, [SMALL, TALL, SILENT], CURRENT),
        (SizePolicy.FIXED, [SMALL, WIDE], CURRENT),
    ],
)
def test_the_policy_decides(policy: SizePolicy, viewers: list[Viewer], expected: Size) -> None:
    assert choose_size(policy, viewers, CURRENT) == expected
    assert choose_size(policy, reversed(viewers), CURRENT) == expected
