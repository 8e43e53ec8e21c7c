"""The threads that file operations are done in: all are there from the start, so that none can be missing later."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from terminal_service.backends_app import StartError

COUNT = 4


def start_threads() -> None:
    """Start the threads that file operations are done in. Raises StartError."""
    threads = ThreadPoolExecutor(COUNT, thread_name_prefix="files")
    started = threading.Barrier(COUNT + 1)
    try:
        for _ in range(COUNT):
            threads.submit(started.wait)
    except RuntimeError as error:
        started.abort()
        threads.shutdown()
        raise StartError(f"no threads: {error}") from error
    started.wait()
    asyncio.get_running_loop().set_default_executor(threads)
