"""Ends a log in Redis in place of a writer that is gone: nobody appends any more, and all who read are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from replay.redis_scripts import SEAL, Answer, Call, Keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replay.redis_connection import Client


async def seal(
    client: Client, name: str, *, reason: str, fields: Mapping[str, object], at: float, ttl_seconds: float
) -> Answer:
    """Append the event `ended` with these fields (`at`: wall-clock seconds), and refuse all writers from now on.

    A log nobody has claimed yet is refused to whoever will. Twice is harmless: the second changes nothing, neither
    does it renew the time to live. Raises what the client raises; then nobody knows whether it was done.
    """
    event = json.dumps(["ended", dict(fields), at], separators=(",", ":")).removeprefix("[")
    call = Call(SEAL, Keys.of(name), (reason, event, int(ttl_seconds * 1000)))
    return Answer.parse(await client.execute_command(*call.words(whole=True)))
