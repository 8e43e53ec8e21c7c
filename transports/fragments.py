"""A message that arrives in several frames (RFC 6455, section 5.4), put together within a bound."""

from __future__ import annotations

import codecs

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class MessageTooBig(Exception):
    """The frames together exceed the limit of a message."""


class Fragments:
    """The frames of one message so far; holds at most `limit_bytes`."""

    def __init__(self, *, text: bool, limit_bytes: int) -> None:
        self._data = bytearray()
        self._limit_bytes = limit_bytes
        # Text is checked frame by frame, so that a wrong byte is told at once (section 8.1); what the check
        # decodes is dropped, since as str it could take four times the bound.
        self._check = _Utf8Decoder() if text else None

    def add(self, payload: bytes, *, final: bool) -> bytes | str | None:
        """Take a frame's payload; return the message if it was the last one.

        Raises MessageTooBig, or UnicodeDecodeError for text that is not UTF-8.
        """
        if len(self._data) + len(payload) > self._limit_bytes:
            raise MessageTooBig
        self._data += payload
        if self._check is not None:
            self._check.decode(payload, final=final)
        if not final:
            return None
        return bytes(self._data) if self._check is None else self._data.decode()
