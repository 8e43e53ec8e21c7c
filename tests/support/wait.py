"""Wait for a condition with a name, never for a duration."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, TypeVar, cast, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

INTERVAL_SECONDS = 0.005


@overload
async def wait_until(
    predicate: Callable[[], Awaitable[T | None]],
    *,
    description: str,
    timeout: float = ...,  # noqa: ASYNC109 - as below
) -> T: ...
@overload
async def wait_until(
    predicate: Callable[[], T | None],
    *,
    description: str,
    timeout: float = ...,  # noqa: ASYNC109 - as below
) -> T: ...
async def wait_until(
    predicate: Callable[[], T | None] | Callable[[], Awaitable[T | None]],
    *,
    description: str,
    timeout: float = 30.0,  # noqa: ASYNC109 - the deadline's message needs the description
) -> T:
    """Return the predicate's first true value; fail the test with `description` after `timeout` seconds.

    The predicate may be a plain or a coroutine function; it is asked once more at the deadline.
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout
    while True:
        last_try = time.monotonic() >= deadline
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return cast("T", value)
        if last_try:
            raise AssertionError(_too_late(description, timeout, value))
        await asyncio.sleep(INTERVAL_SECONDS)


def poll_until(predicate: Callable[[], T], *, description: str, timeout: float = 30.0) -> T:
    """Do what `wait_until` does where there is no event loop."""
    __tracebackhide__ = True
    deadline = time.monotonic() + timeout
    while True:
        last_try = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if last_try:
            raise AssertionError(_too_late(description, timeout, value))
        time.sleep(INTERVAL_SECONDS)


def _too_late(description: str, timeout: float, value: object) -> str:
    return f"waited {timeout:g} s in vain for: {description} (last value: {value!r})"
