"""The OpenAPI document is true and complete (A7): schemathesis walks every operation of the running service."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from support.http_service import HttpService, serve

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20260101
SECONDS = 100  # a bound, not the time it takes

CONFIGURATION = """
seed = {seed}
hooks = "fresh_keys"
warnings.fail-on = true
request-timeout = 10.0
generation = {{ max-examples = {examples}, database = "none" }}

[parameters]
"path.session_id" = "{living}"

# What no document can say: which shells and directories exist, where the output ends, what a cursor is, base64.
[[operations]]
include-operation-id = ["createSession", "listSessions", "readOutput", "sendInput"]
checks.positive_data_acceptance.enabled = false

[[operations]]
include-operation-id = "endSession"
parameters = {{ "path.session_id" = "{first_victim}" }}

[[operations]]
include-operation-id = "sendSignal"
parameters = {{ "path.session_id" = "{second_victim}" }}

# An answer that goes on for as long as a session is not one to wait for.
[[operations]]
include-operation-id = "readOutput"
parameters = {{ "query.follow" = false }}
"""

# Generated keys repeat; where one that is well formed is sent, send one that is new, or nothing else is tested.
HOOKS = """
import re, uuid, schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
"""


@pytest.mark.full
@pytest.mark.timeout(150)
async def test_every_operation_keeps_its_promises(tmp_path: Path, size: Any) -> None:
    async with serve(max_sessions=100_000, max_concurrent_sessions_per_user=100_000) as service:
        ids = {name: await _session(service) for name in ("living", "first_victim", "second_victim")}
        configuration = tmp_path / "schemathesis.toml"
        configuration.write_text(CONFIGURATION.format(seed=SEED, examples=size(25, 400), **ids))
        (tmp_path / "fresh_keys.py").write_text(HOOKS)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "--no-color", "--config-file", str(configuration)),
            *("run", service.url + "/openapi.json", "--no-shrink"),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(size(SECONDS, 3600)):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()


async def _session(service: HttpService) -> str:
    return str((await service.create(ttl_seconds=86400))["session_id"])


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, item in document["paths"].items() for method, operation in item.items()]


OPERATIONS = {
    ("POST", "/api/v1/sessions"),
    ("GET", "/api/v1/sessions"),
    ("GET", "/api/v1/sessions/{session_id}"),
    ("PATCH", "/api/v1/sessions/{session_id}"),
    ("DELETE", "/api/v1/sessions/{session_id}"),
    ("POST", "/api/v1/sessions/{session_id}/keepalive"),
    ("PUT", "/api/v1/sessions/{session_id}/resize"),
    ("POST", "/api/v1/sessions/{session_id}/input"),
    ("POST", "/api/v1/sessions/{session_id}/signal"),
    ("GET", "/api/v1/sessions/{session_id}/output"),
    ("POST", "/api/v1/sessions/{session_id}/tickets"),
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/api/v1/options"),
    ("GET", "/api/v1/nodes"),
    ("GET", "/api/v1/backends"),
    *(("GET", prefix + "/health" + rest) for prefix in ("", "/api/v1") for rest in ("", "/live", "/ready")),
}


async def test_the_document_is_complete() -> None:
    async with serve(keys=True) as service, service.client("ann") as ann:
        document = (await ann.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    operations = _operations(document)
    assert {(method.upper(), path) for path, method, _ in operations} == OPERATIONS
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    for path, method, operation in operations:
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        for status, answer in operation["responses"].items():
            assert answer["description"], where
            content = answer.get("content", {})
            if int(status) >= 400 and "health" not in path:
                assert set(content) == {"application/problem+json"}, where
        if method in {"post", "put", "patch", "delete"}:
            takes_key = "Idempotency-Key" in [each["name"] for each in operation["parameters"]]
            assert takes_key == (operation["operationId"] != "createTicket"), where  # two need two
        if "requestBody" in operation:
            assert {"413", "415"} <= set(operation["responses"]), where


async def test_every_reference_leads_somewhere() -> None:
    async with serve() as service:
        document = (await service.http.get("/openapi.json")).json()
    names = document["components"]["schemas"]
    text = json.dumps(document)
    references = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert references <= set(names)
    assert set(names) == references, "a schema that nothing refers to"


async def test_the_bounds_of_the_settings_are_in_the_document() -> None:
    async with serve(max_retention_bytes=32 * 2**20, session_max_lifetime_seconds=7200.0) as service:
        document = (await service.http.get("/openapi.json")).json()
    fields = document["components"]["schemas"]["CreateSession"]["properties"]
    assert (fields["rows"]["minimum"], fields["rows"]["maximum"]) == (1, 1000)
    assert fields["retention_bytes"]["anyOf"][0]["minimum"] == 64 * 1024
    assert fields["retention_bytes"]["anyOf"][0]["maximum"] == 32 * 2**20
    assert fields["ttl_seconds"]["anyOf"][0]["maximum"] == 7200.0


async def test_the_examples_of_the_document_are_accepted() -> None:
    async with serve() as service:
        document = (await service.http.get("/openapi.json")).json()
        view = await service.create()
        schemas = document["components"]["schemas"]
        for model, method, path, status in (
            ("ChangeSession", "PATCH", service.path(view), 200),
            ("Resize", "PUT", service.path(view, "/resize"), 200),
            ("Input", "POST", service.path(view, "/input"), 202),
            ("AskTicket", "POST", service.path(view, "/tickets"), 201),
        ):
            for example in schemas[model]["examples"]:
                answer = await service.http.request(method, path, json=example)
                assert answer.status_code == status, answer.text
        for example in schemas["CreateSession"]["examples"]:
            answer = await service.http.post("/api/v1/sessions", json={**example, "shell": None})
            assert answer.status_code == 201, answer.text
