"""The outermost edge of a task: trouble with one session must not end the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Coroutine

log = structlog.get_logger()


async def guarded(work: Coroutine[object, object, None], name: str) -> None:
    """Do it; log what it raises."""
    try:
        await work
    except Exception:
        log.exception("task failed", task=name)
