"""Read the reviews of one's own rights that kubectl sends as protocol buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"k8s\0"
ATTRIBUTES = {1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name"}
RAW, SPEC, RESOURCE_ATTRIBUTES, NAMESPACE = 2, 2, 1, 1


def read_review(data: bytes, resource: str) -> dict[str, Any]:
    """Return a SelfSubjectAccessReview or a SelfSubjectRulesReview as JSON would have it."""
    spec = _fields(_fields(_fields(data.removeprefix(MAGIC))[RAW]).get(SPEC, b""))
    if resource == "selfsubjectrulesreviews":
        return _review("SelfSubjectRulesReview", {"namespace": spec.get(NAMESPACE, b"").decode()})
    attributes = _fields(spec.get(RESOURCE_ATTRIBUTES, b""))
    named = {ATTRIBUTES[number]: value.decode() for number, value in attributes.items() if number in ATTRIBUTES}
    return _review("SelfSubjectAccessReview", {"resourceAttributes": named})


def _review(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": spec}


def _fields(message: bytes) -> dict[int, bytes]:
    """Return the last value of each field that has a length."""
    left = iter(message)
    found = {}
    for tag in left:
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _number(left)
        elif kind == 2:
            found[number] = bytes(next(left) for _ in range(_number(left)))
        else:
            raise ValueError(f"field {number} has kind {kind}")
    return found


def _number(left: Iterator[int]) -> int:
    value = shift = 0
    for byte in left:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value
    raise ValueError("the message ends in a number")
