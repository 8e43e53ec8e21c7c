"""Long tests have two sizes and one code: the CI size, and the full size of `pytest -m full`."""

from __future__ import annotations

_full = False


def use_full_size(*, full: bool) -> None:
    """Choose for the whole run; called once, before any test module is imported."""
    global _full  # noqa: PLW0603 - a run has one size, and decorators need it at import time
    _full = full


def size(ci: int, full: int) -> int:
    """Return the count that belongs to this run.

    For decorators (`@settings(max_examples=size(200, 20_000))`); in a test's body use the fixture of this name.
    """
    return full if _full else ci


def is_full() -> bool:
    """Tell whether this is a run at the full size."""
    return _full
