"""The API's description: fresh, valid, complete, and browsable without anything from elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from tests.api.client import Api
from tests.api.contract import Json, document, validate
from tests.api.serving import ROOT, environment
from tests.waiting import LIMIT
from wvs_project.errors import ErrorCode
from wvs_project.http.docs import openapi_json

pytestmark = pytest.mark.rule("SPEC §4")

COMMITTED = Path(__file__).resolve().parent.parent.parent / "docs" / "openapi.yaml"
ENDPOINTS = {
    ("POST", "/v1/workspaces"),
    ("GET", "/v1/workspaces"),
    ("GET", "/v1/workspaces/{wsid}"),
    ("DELETE", "/v1/workspaces/{wsid}"),
    ("POST", "/v1/workspaces/{wsid}/retry-init"),
    ("POST", "/v1/workspaces/{wsid}/snapshots"),
    ("GET", "/v1/workspaces/{wsid}/snapshots"),
    ("GET", "/v1/workspaces/{wsid}/snapshots/{snapshot_id}"),
    ("DELETE", "/v1/workspaces/{wsid}/snapshots/{snapshot_id}"),
    ("GET", "/v1/workspaces/{wsid}/current"),
    ("POST", "/v1/workspaces/{wsid}/current:set"),
    ("GET", "/v1/tasks"),
    ("GET", "/v1/tasks/{task_id}"),
    ("POST", "/v1/tasks/{task_id}:cancel"),
    ("GET", "/v1/audit"),
}


def operations() -> dict[tuple[str, str], Json]:
    paths = document()["paths"].items()
    return {(method.upper(), path): spec for path, methods in paths for method, spec in methods.items()}


def test_the_committed_file_is_what_the_code_says() -> None:
    made = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered = OpenApiYamlRenderer().render(made, renderer_context={})  # type: ignore[no-untyped-call]
    assert COMMITTED.read_bytes() == rendered, "stale: make openapi"


def test_it_is_valid_openapi_3_1() -> None:
    made = json.loads(openapi_json())
    assert made["openapi"].startswith("3.1")
    validate_schema(made)  # type: ignore[no-untyped-call]


def test_it_has_every_endpoint_of_the_specification_and_no_other() -> None:
    assert set(operations()) == ENDPOINTS


def test_it_has_every_route_of_ours() -> None:
    def routes(patterns: list[URLPattern | URLResolver], prefix: str) -> list[str]:
        found = []
        for pattern in patterns:
            path = prefix + re.sub(r"<\w+:(\w+)>", r"{\1}", str(pattern.pattern))
            found += routes(pattern.url_patterns, path) if isinstance(pattern, URLResolver) else [path]
        return found

    ours = {path for path in routes(get_resolver().url_patterns, "/") if path.startswith("/v1/")}
    assert ours - {"/v1/docs", "/v1/openapi.json"} == {path for _, path in operations()}


def test_every_operation_says_what_it_is_called_and_how_it_fails() -> None:
    names = [spec["operationId"] for spec in operations().values()]
    assert len(set(names)) == len(names)
    for spec in operations().values():
        assert {"400", "500"} <= set(spec["responses"])
        assert spec["description"]
        assert all("X-Request-Id" in response["headers"] for response in spec["responses"].values())


def test_every_write_that_makes_a_task_needs_a_key_and_says_where_the_task_is() -> None:
    asynchronous = {key: spec for key, spec in operations().items() if "202" in spec["responses"]}
    assert len(asynchronous) == 5
    for spec in asynchronous.values():
        keys = [p for p in spec["parameters"] if p["name"] == "Idempotency-Key"]
        assert [p["required"] for p in keys] == [True]
        assert spec["responses"]["202"]["headers"]["Location"]["required"]
        assert "WVS_CONFLICT_IDEMPOTENT_MISMATCH" in json.dumps(spec["responses"]["409"])


def test_every_example_is_what_its_schema_says() -> None:
    bodies = [
        spec["requestBody"]["content"]["application/json"] for spec in operations().values() if "requestBody" in spec
    ]
    examples = [(body["schema"], example["value"]) for body in bodies for example in body.get("examples", {}).values()]
    assert len(examples) >= 4
    for schema, value in examples:
        validate(value, schema)


def test_an_error_names_one_of_our_codes() -> None:
    codes = document()["components"]["schemas"]["Error"]["properties"]["code"]["enum"]
    assert codes == sorted(code.code for code in ErrorCode)


@pytest.mark.django_db
def test_it_is_served_as_it_is_committed(api: Api) -> None:
    answer = api.get("/v1/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.body == yaml.safe_load(COMMITTED.read_text())


def test_it_can_be_asked_for_by_many_at_once_before_it_was_ever_made() -> None:
    code = (
        "import django; django.setup()\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from wvs_project.http.docs import openapi_json\n"
        "with ThreadPoolExecutor(8) as threads:\n"
        "    made = [each.result() for each in [threads.submit(openapi_json) for _ in range(8)]]\n"
        "assert len(set(made)) == 1 and made[0].startswith(b'{')"
    )
    settings = {"DJANGO_SETTINGS_MODULE": "wvs_project.settings"}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**environment(), **settings},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.django_db
def test_the_page_and_all_that_it_needs_come_from_us(api: Api) -> None:
    page = api.get("/v1/docs")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    html = page.content.decode()
    script = api.get("/v1/docs", "script=")
    assert script.headers["Content-Type"].startswith("application/javascript")
    assert "openapi.json" in script.content.decode()
    assert "<script>" not in html
    assert not re.findall(r"(?:src|href)=[\"'](?:https?:)?//", html)
    needed = re.findall(r"(?:src|href)=[\"'](/static/[^\"']+)", html)
    assert len(needed) >= 3
