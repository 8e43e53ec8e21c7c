"""Attach a client to a container's main process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from support.kube.channels import CLOSE, RESIZE, STDIN, STDOUT, SUCCESS, Cut, Stream, send_status, set_size

if TYPE_CHECKING:
    from support.kube.kubelet import Life

MOST_WAITING = 1000
"""Chunks that a client has not taken; it is cut when there are more."""


async def attach(stream: Stream, life: Life) -> None:
    """Pass on what the process writes from now on, and what the client types, until one of them ends.

    The status is always Success, as on a real node: how the container ended is in the pod's status.
    """
    running = life.running
    assert running is not None
    wants = {name: stream.request.query.get(name) in ("1", "true") for name in ("stdin", "stdout", "stderr")}
    waiting: asyncio.Queue[bytes] = asyncio.Queue(MOST_WAITING)

    def listen(number: int, data: bytes) -> None:
        if wants["stdout" if number == STDOUT else "stderr"]:
            if waiting.full():
                stream.abort()
            else:
                waiting.put_nowait(bytes([number]) + data)

    life.log.listeners.add(listen)
    reading = asyncio.create_task(_read(stream, life, wants), name="attach stdin")
    writing = asyncio.create_task(_write(stream, waiting), name="attach stdout")
    ending = asyncio.create_task(life.log.until_closed(), name="attach end")
    tasks = (reading, writing, ending)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if ending in done:
            writing.cancel()
            await asyncio.wait([writing])
            while not waiting.empty():
                await stream.send(waiting.get_nowait())
            await send_status(stream, SUCCESS)
    finally:
        life.log.listeners.discard(listen)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if life.form.get("stdinOnce") and wants["stdin"] and not running.is_tty:
            running.stdin.close()


async def _write(stream: Stream, waiting: asyncio.Queue[bytes]) -> None:
    await stream.send(bytes([STDOUT]))
    while True:
        await stream.send(await waiting.get())


async def _read(stream: Stream, life: Life, wants: dict[str, bool]) -> None:
    running = life.running
    assert running is not None
    with suppress(Cut):
        while True:
            message = await stream.receive()
            channel, data = message[:1], message[1:]
            if channel == bytes([STDIN]) and wants["stdin"]:
                await running.stdin.write(data)
            elif channel == bytes([RESIZE]) and running.is_tty:
                set_size(running, data)
            elif channel == bytes([CLOSE]) and life.form.get("stdinOnce") and not running.is_tty:
                running.stdin.close()
