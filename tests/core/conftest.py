"""One terminal on manual time; a directory for sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.manual import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    made: list[Stage] = []

    def make(**options: object) -> Stage:
        made.append(Stage(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for stage in made:
        stage.close()


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    return make_stage().start()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "sessions"
