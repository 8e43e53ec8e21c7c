"""Memory for a journal, as a log has it."""

from __future__ import annotations

from terminal_service.journal import JOURNAL_WORDS


def make_words() -> memoryview:
    """Return a journal's words, all zero; they end with the process."""
    return memoryview(bytearray(8 * JOURNAL_WORDS)).cast("Q")
