"""How long a service lets others wait: by the clock, and by the processor time that it used meanwhile.

On a busy machine the clock counts others' work too; processor time is the service's own.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.service import Service

REST_SECONDS = 1.0
"""What nothing may take longer than, in processor time."""
HANG_SECONDS = 10.0
"""What nothing may take longer than by the clock, on any machine."""


class Rest:
    """The longest that anything took: seconds by the clock, and of the service's processor time."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.seconds = self.processor_seconds = 0.0

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Measure one answer."""
        began, used = time.monotonic(), self._used()
        yield
        self.seconds = max(self.seconds, time.monotonic() - began)
        self.processor_seconds = max(self.processor_seconds, self._used() - used)

    def _used(self) -> float:
        times = self._service.psutil.cpu_times()
        return times.user + times.system

    def check(self) -> None:
        """Fail if something took too long."""
        assert self.seconds < HANG_SECONDS
        assert self.processor_seconds < REST_SECONDS
