"""Every answer of a test is held against the OpenAPI document: status, headers, content type and body, exactly."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from jsonschema import Draft202012Validator, FormatChecker

from wvs_project.http.docs import openapi_json

Json = dict[str, Any]
# Headers that mean something to a client of ours: an answer has them only where the document says so.
SPEAKING = ("X-Request-Id", "Location", "Retry-After", "Idempotent-Replayed")
UNDOCUMENTED = ("/v1/openapi.json", "/v1/docs")


@dataclass(frozen=True)
class Sent:
    """A request as it was made."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    spec: Json

    @property
    def responses(self) -> Mapping[str, Json]:
        answers: Mapping[str, Json] = self.spec["responses"]
        return answers

    def parameters(self, place: str) -> dict[str, Json]:
        return {item["name"]: item for item in self.spec["parameters"] if item["in"] == place}


@cache
def document() -> Json:
    """The document, with every object of an answer closed: a field that it does not name is an error here."""
    made: Json = copy.deepcopy(json.loads(openapi_json()))
    for schema in made["components"]["schemas"].values():
        _close(schema)
    return made


def _close(schema: Json) -> None:
    if "properties" in schema:
        schema.setdefault("additionalProperties", False)
    for inner in [*schema.get("properties", {}).values(), schema.get("items")]:
        if isinstance(inner, dict):
            _close(inner)


@cache
def _routes() -> list[tuple[re.Pattern[str], Json]]:
    routes = []
    for template, operations in document()["paths"].items():
        patterns = {
            p["name"]: p["schema"]["pattern"] for o in operations.values() for p in o["parameters"] if p["in"] == "path"
        }
        text = re.escape(template).replace(r"\{", "{").replace(r"\}", "}")
        for name, pattern in patterns.items():
            text = text.replace("{" + re.escape(name) + "}", f"(?:{pattern.strip('^$')})")
        routes.append((re.compile(text), operations))
    return routes


def operation_of(method: str, path: str) -> Operation | None:
    """What the document says of the route, if it has it."""
    for pattern, operations in _routes():
        if pattern.fullmatch(path):
            spec = operations.get("get" if method == "HEAD" else method.lower())
            return Operation(spec) if spec else None
    return None


def validate(value: object, schema: Json) -> None:
    """Raises if `value` is not as the schema says."""
    whole = {**schema, "components": document()["components"]}
    Draft202012Validator(whole, format_checker=FormatChecker()).validate(value)


def fits(value: object, schema: Json) -> bool:
    return Draft202012Validator({**schema, "components": document()["components"]}).is_valid(value)


def check(sent: Sent, status: int, headers: Mapping[str, str], content: bytes) -> None:
    """Hold an answer, and a request that was taken, against the document."""
    if sent.path in UNDOCUMENTED and status == 200:
        return
    assert headers["Content-Type"] == "application/json"
    operation = operation_of(sent.method, sent.path)
    if operation is None or str(status) not in operation.responses:
        # A method or a host that no operation has.
        assert status in (400, 404, 405, 500), f"{sent.method} {sent.path} must not answer {status}"
        assert status != 400 or operation is None or "400" in operation.responses
        validate(json.loads(content), {"$ref": "#/components/schemas/Error"})
        assert "X-Request-Id" in headers
        return
    response = operation.responses[str(status)]
    _check_headers(response.get("headers", {}), headers)
    if sent.method != "HEAD":
        validate(json.loads(content), response["content"]["application/json"]["schema"])
    if status < 300:
        _check_request(operation, sent)
    if status in (409, 410, 412):
        assert json.loads(content)["details"]["blockers"]


def _check_headers(declared: Mapping[str, Json], given: Mapping[str, str]) -> None:
    assert {name for name in SPEAKING if name in given} <= set(declared)
    for name, header in declared.items():
        if name not in given:
            assert not header.get("required"), f"{name} is missing"
            continue
        value: object = given[name]
        validate(int(given[name]) if header["schema"]["type"] == "integer" else value, header["schema"])


def _check_request(operation: Operation, sent: Sent) -> None:
    """What was taken is what the document allows."""
    query = parse_qs(sent.query, keep_blank_values=True)
    assert set(query) <= set(operation.parameters("query"))
    required = {name for name, item in operation.parameters("header").items() if item.get("required")}
    assert required <= set(sent.headers)
    if sent.body and (described := operation.spec.get("requestBody")):
        validate(json.loads(sent.body), described["content"]["application/json"]["schema"])
