"""Bodies: strict JSON, an object, at most 64 KiB, refused with the reason before anything is done."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tasks.models import Task
from tests.api.client import Api
from tests.factories import make_workspace
from wvs_project.errors import ErrorCode
from wvs_project.http.parsers import MAX_BODY_BYTES

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §4")]

KEY = {"Idempotency-Key": "key-1"}


@pytest.fixture
def path() -> str:
    return f"/v1/workspaces/{make_workspace().wsid}/snapshots"


NOT_AN_OBJECT = [b"[]", b"null", b"true", b"5", b'"x"', b"[{}]"]
NOT_JSON = [
    b" ",
    b"{",
    b"{'message': 'x'}",
    b'{"message": "x",}',
    b'{"message": "x"} {}',
    b'{"message": NaN}',
    b'{"message": Infinity}',
    b'{"message": -Infinity}',
    b'\xef\xbb\xbf{"message": "x"}',
    b'{"message": "\xff"}',
    b'{"message": "\xed\xa0\x80"}',
    b'{"message": "\\ud800"}',
    b'{"\\udfff": 1}',
    b'{"message": "\\u0000"}',
    b'{"message": "a\x00b"}',
    b'{"\\u0000": "x"}',
    b'{"message": "a", "message": "a"}',
    b'{"x": {"a": 1, "\\u0061": 2}}',
    b'{"x": ' + b"[" * 40 + b"]" * 40 + b"}",
    b"[" * 30_000,
    b'{"x": ' + b"9" * 5000 + b"}",
    b'{"x": 1e99999999999999999999}',
    b'{"x": 1.' + b"0" * 100 + b"}",
    b'{"message": "a\nb"}',
    "{}".encode("utf-16"),
]


@pytest.mark.parametrize("content", NOT_AN_OBJECT + NOT_JSON)
def test_what_is_not_strict_json_or_no_object_is_refused(api: Api, path: str, content: bytes) -> None:
    answer = api.send("POST", path, content=content, headers=KEY)
    answer.refused(ErrorCode.BAD_REQUEST)
    assert answer.body["message"].startswith("the body ")
    assert not Task.objects.exists()


@pytest.mark.parametrize("name", ["colour", "Message", "", "snapshot_id"])
def test_an_unknown_field_is_refused_and_named(api: Api, path: str, name: str) -> None:
    assert list(api.post(path, {"message": "x", name: "y"}).refused(ErrorCode.BAD_REQUEST)["fields"]) == [name]
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin-1"]
)
def test_another_content_type_is_415(api: Api, path: str, content_type: str) -> None:
    answer = api.send("POST", path, content=b'{"message": "x"}', content_type=content_type, headers=KEY)
    answer.refused(ErrorCode.BAD_REQUEST, 415)


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON", "application/json; charset=UTF-8"])
def test_json_is_json_however_it_is_spelled(api: Api, path: str, content_type: str) -> None:
    api.send("POST", path, content=b'{"message": "x"}', content_type=content_type, headers=KEY).accepted()


def test_without_a_body_the_content_type_is_of_no_account(api: Api, path: str) -> None:
    api.send("POST", path, content_type="text/plain", headers=KEY).accepted()


def padded(size: int) -> bytes:
    empty = len(json.dumps({"message": ""}))
    return json.dumps({"message": ""}).encode() + b" " * (size - empty)


def test_64_kib_are_taken_and_a_byte_more_is_413(api: Api, path: str) -> None:
    api.send("POST", path, content=padded(MAX_BODY_BYTES), headers=KEY).accepted()
    api.send("POST", path, content=padded(MAX_BODY_BYTES + 1), headers=KEY).refused(ErrorCode.BAD_REQUEST, 413)


def chunked(content: bytes) -> dict[str, Any]:
    """As a server gives a body that came in chunks: no length, an end where it ends."""
    stream = io.BytesIO(content)
    json_type = "application/json"
    return {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_TYPE": json_type, "CONTENT_LENGTH": "", "wsgi.input": stream}


def test_chunks_are_read_as_any_body(api: Api, path: str) -> None:
    answer = api.send("POST", path, headers=KEY, **chunked(b'{"message": "in chunks"}'))
    answer.accepted()
    assert Task.objects.get().params["message"] == "in chunks"
    assert api.post(path, {"message": "in chunks"}, key="key-1").replayed


def test_chunks_beyond_64_kib_are_413_and_not_all_read(api: Api, path: str) -> None:
    environ = chunked(padded(10 * MAX_BODY_BYTES))
    api.send("POST", path, headers=KEY, **environ).refused(ErrorCode.BAD_REQUEST, 413)
    stream = environ["wsgi.input"]
    assert isinstance(stream, io.BytesIO)
    assert stream.tell() == MAX_BODY_BYTES + 1


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣"])
def test_a_length_that_is_no_number_is_refused(api: Api, path: str, length: str) -> None:
    api.send("POST", path, headers=KEY, CONTENT_LENGTH=length).refused(ErrorCode.BAD_REQUEST)


def test_a_length_beyond_all_measure_is_413(api: Api, path: str) -> None:
    api.send("POST", path, headers=KEY, CONTENT_LENGTH="9" * 30).refused(ErrorCode.BAD_REQUEST, 413)


def test_a_body_that_ends_early_is_refused(api: Api, path: str) -> None:
    api.send("POST", path, content=b"{}", headers=KEY, CONTENT_LENGTH="5").refused(ErrorCode.BAD_REQUEST)
