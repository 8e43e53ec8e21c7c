"""What tests let go wrong with requests to the API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.kube.statuses import Refused

if TYPE_CHECKING:
    from support.kube.paths import Asked

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class Fault:
    """A refusal or a delay of the next requests that fit."""

    verbs: tuple[str, ...]
    resource: str
    times: int
    code: int = 0
    message: str = ""
    retry_after: int | None = None
    delay: float = 0
    abort: bool = False

    def fits(self, asked: Asked) -> bool:
        return (not self.verbs or asked.verb in self.verbs) and self.resource in ("", asked.full_resource)


@dataclass
class Faults:
    """Those that are still to come."""

    _faults: list[Fault] = field(default_factory=list)

    def fail(
        self,
        code: int,
        *verbs: str,
        resource: str = "",
        times: int = 1,
        message: str = "",
        retry_after: int | None = None,
    ) -> None:
        """Answer the next requests with a status: `fail(429, "create", resource="pods", retry_after=1)`."""
        self._faults.append(Fault(verbs, resource, times, code, message, retry_after))

    def delay(self, seconds: float, *verbs: str, resource: str = "", times: int = 1) -> None:
        """Let the next requests wait before they are looked at."""
        self._faults.append(Fault(verbs, resource, times, delay=seconds))

    def abort(self, *verbs: str, resource: str = "", times: int = 1) -> None:
        """Cut the connections of the next requests instead of answering them."""
        self._faults.append(Fault(verbs, resource, times, abort=True))

    @property
    def left(self) -> list[Fault]:
        """Those that nobody has met."""
        return [*self._faults]

    def clear(self) -> None:
        self._faults.clear()

    async def meet(self, asked: Asked) -> bool:
        """Do what is to be done to a request; return whether its connection is to be cut; raise Refused."""
        for fault in [*self._faults]:
            if not fault.fits(asked):
                continue
            fault.times -= 1
            if not fault.times:
                self._faults.remove(fault)
            if fault.abort:
                return True
            if fault.delay:
                await asyncio.sleep(fault.delay)
                continue
            message = fault.message or f"the test wants {fault.code}"
            raise Refused(fault.code, REASONS[fault.code], message, retry_after=fault.retry_after)
        return False
