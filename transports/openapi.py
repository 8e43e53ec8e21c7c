"""The OpenAPI document: what every operation may answer, beside what its types already say."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from terminal_service.settings import Settings
from transports import problems
from transports.heads import Refusal
from transports.idempotency import KEY_CHARACTERS
from transports.models import Input

DESCRIPTION = """
Terminals that survive any disconnect. Open a session here, attach over WebSocket at its `websocket_url`.

Every refusal is a problem document (RFC 9457) with a stable `code`; wrong input names the field. Mutations may
carry an `Idempotency-Key`: the same request with the same key is carried out once, and answered again for 24 hours.

Any node of the service answers for every session. 503 `node_unreachable`: the node that has the session has not
answered; what was asked may have been done or not, and the same key makes it safe to repeat, at any node.
"""

PROBLEM_TYPE = "application/problem+json"
_ALWAYS = (400, 403, 421)  # by the guard: malformed, of another site, for another host
_WITH_IDENTITY = (401,)
_WITH_BODY = (413, 415)
_WHAT = {
    400: "Malformed",
    401: "Nobody known asks",
    403: "Not allowed",
    404: "No such session, or none you may know of",
    409: "The session has ended, or does not run yet",
    410: "The output is lost",
    413: "The body is too large",
    415: "The body is not of a type that is taken here",
    416: "There is no such range",
    421: "The service is not known by this name",
    422: "A field is wrong",
    429: "A limit is reached",
    502: "The backend refuses the service",
    503: "Cannot be done now",
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="A path with dots, as `env.PATH`.")
    message: str


class Problem(BaseModel):
    """A refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="For people.")
    code: str = Field(description="For programs; stable.")
    errors: list[FieldProblem] | None = None


def refusals(*statuses: int, identity: bool = True, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation: these problems, and those that every operation can meet."""
    every = {*_ALWAYS, *statuses, *(_WITH_IDENTITY if identity else ()), *(_WITH_BODY if body else ())}
    return {status: _problem(status) for status in sorted(every)}


def header(description: str, kind: str = "integer") -> dict[str, Any]:
    """Return the description of a response's header."""
    return {"description": description, "schema": {"type": kind}}


def _problem(status: int) -> dict[str, Any]:
    example = problems.build(status, "a_stable_code", "what is wrong, for people").document()
    content = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}
    answer: dict[str, Any] = {"description": _WHAT.get(status, HTTPStatus(status).phrase), "content": content}
    if status in {429, 503}:
        answer["headers"] = _RETRY_AFTER
    return answer


async def _json_only(request: Request) -> None:
    """Refuse a body of another type; without one, the missing body is what is told."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.endswith(("/json", "+json"))):
        detail = f"this operation takes application/json, not {kind[:80]}"
        raise Refusal(problems.build(415, "content_type_not_supported", detail))


async def _idempotent(
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=KEY_CHARACTERS,
            pattern=r"^[\x21-\x7e]+$",
            description="Makes it safe to repeat the request: it is carried out once per key.",
        ),
    ] = None,
) -> None:
    """Describe and check the header; `transports.idempotency` does the work."""
    del idempotency_key


JSON_ONLY = Depends(_json_only)
IDEMPOTENT = Depends(_idempotent)


class Api(FastAPI):
    """FastAPI with a document that is true of this service's errors, credentials and bounds."""

    settings: Settings

    def openapi(self) -> dict[str, Any]:
        """Return the document, made once."""
        if not self.openapi_schema:
            document = get_openapi(
                title=self.title,
                version=self.version,
                description=self.description,
                routes=self.routes,
                tags=self.openapi_tags,
            )
            _complete(document, self.settings)
            self.openapi_schema = document
        return self.openapi_schema


def _complete(document: dict[str, Any], settings: Settings) -> None:
    components = document["components"]
    # FastAPI knows the models of JSON bodies; these are referred to by hand.
    for model in (Problem, Input):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        components["schemas"].update(schema.pop("$defs", {}))
        components["schemas"][model.__name__] = schema
    _write_bounds(components["schemas"], settings)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key of API_KEYS."},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key of API_KEYS."},
    }
    # Without API_KEYS the local user needs none.
    document["security"] = [{"bearer": []}, {"key": []}] if settings.api_keys else []


def _write_bounds(schemas: dict[str, Any], settings: Settings) -> None:
    """Write the bounds that come from the settings where the models leave them open."""
    bounds = {"retention_bytes": settings.max_retention_bytes, "ttl_seconds": settings.session_max_lifetime_seconds}
    for model in ("CreateSession", "ChangeSession"):
        for name, bound in bounds.items():
            choices = schemas[model]["properties"].get(name, {}).get("anyOf", [])
            for choice in choices:
                if choice["type"] != "null" and bound:
                    choice["maximum"] = bound
