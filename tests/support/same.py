"""Compare long bytes: only this module decides what a test prints of them.

A plain `assert a == b` on megabytes makes pytest work out a difference for people, which can take all memory.
"""

from __future__ import annotations

CONTEXT_BYTES = 40


def assert_same(actual: bytes, expected: bytes, what: str = "bytes") -> None:
    """Fail, naming the first position that differs and what is around it, unless both are equal."""
    if actual == expected:
        return
    at = _first_difference(actual, expected)
    near = slice(max(0, at - CONTEXT_BYTES), at + CONTEXT_BYTES)
    raise AssertionError(
        f"{what}: {len(actual)} bytes, expected {len(expected)}; the first difference is at {at}: "
        f"{actual[near]!r}, expected {expected[near]!r}"
    )


def _first_difference(actual: bytes, expected: bytes) -> int:
    low, high = 0, min(len(actual), len(expected))
    while low < high:  # all before `low` is equal
        middle = (low + high + 1) // 2
        if actual[low:middle] == expected[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
