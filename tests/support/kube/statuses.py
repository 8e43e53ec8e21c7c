"""What an API server refuses, in its own words."""

from __future__ import annotations

from typing import Any


class Refused(Exception):
    """A request that gets a Status instead of an answer."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details or {}
        self.retry_after = retry_after
        if retry_after is not None:
            self.details = {**self.details, "retryAfterSeconds": retry_after}

    @property
    def body(self) -> dict[str, Any]:
        return status(self.code, self.reason, str(self), self.details)


def status(code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    found |= {"message": message, "reason": reason, "code": code}
    if details:
        found["details"] = details
    return found


def success(name: str, kind: str, uid: str) -> dict[str, Any]:
    details = {"name": name, "kind": kind, "uid": uid}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _full(resource: str, group: str) -> str:
    return f"{resource}.{group}" if group else resource


def not_found(resource: str, name: str, group: str = "") -> Refused:
    message = f'{_full(resource, group)} "{name}" not found'
    return Refused(404, "NotFound", message, details={"name": name, "group": group, "kind": resource})


def no_such_path() -> Refused:
    return Refused(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: str, name: str, group: str = "") -> Refused:
    message = f'{_full(resource, group)} "{name}" already exists'
    return Refused(409, "AlreadyExists", message, details={"name": name, "group": group, "kind": resource})


def conflict(resource: str, name: str, group: str = "") -> Refused:
    message = (
        f'Operation cannot be fulfilled on {_full(resource, group)} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return Refused(409, "Conflict", message, details={"name": name, "group": group, "kind": resource})


def invalid(kind: str, name: str, field: str, problem: str, *, reason: str = "FieldValueInvalid") -> Refused:
    cause = {"reason": reason, "message": problem, "field": field}
    details = {"name": name, "kind": kind, "causes": [cause]}
    return Refused(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {problem}', details=details)


def bad_request(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def unauthorized() -> Refused:
    return Refused(401, "Unauthorized", "Unauthorized")


def internal_error(message: str) -> Refused:
    cause = {"causes": [{"message": message}]}
    return Refused(500, "InternalError", f"Internal error occurred: {message}", details=cause)


def gone(asked: int, oldest: int) -> Refused:
    return Refused(410, "Expired", f"too old resource version: {asked} ({oldest})")
