"""Numbered input in pieces of all sizes, typed until somebody has seen enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.client import Client

ECHO = ["sh", "-c", "stty raw -echo; printf READY; exec cat"]
"""The program to type to."""


async def type_until(client: Client, is_enough: Callable[[], bool], seed: int) -> tuple[bytes, int]:
    """Type to ECHO until it is enough and echoed; return all that it prints, and how many inputs that took."""
    sent = bytearray(b"READY")
    await client.wait_for_output(b"READY")
    number = 0
    while not is_enough():
        data = f"<{number} ".encode() + b"\xe2\x82\xac" * (number * seed % 97) + b">"
        number += 1
        sent += data
        client.send_input(data)
        await client.wait(lambda: client.unacked < 8, "room", seconds=60)
    await client.wait_acked(seconds=60)
    await client.wait(lambda: client.position >= len(sent), "the echo of all input", seconds=60)
    client.send_input(b"!")
    sent += b"!"
    await client.wait(lambda: client.position >= len(sent), "the echo of the last input", seconds=60)
    return bytes(sent), number
