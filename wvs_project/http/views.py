"""What every v1 view is made of: `endpoint` declares an operation once, for the code and for OpenAPI alike.

    @endpoint("createThing", body=ThingIn, answer=ThingOut, status=202, refusals=[ErrorCode.GONE])
    def create(self, call: Call, wsid: str) -> Response: ...

The query and the body are parsed as declared before the method runs, so an undeclared parameter or field is 400.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from wvs_project.errors import ErrorCode
from wvs_project.http import schema
from wvs_project.http.context import request_id_of, traceparent_of
from wvs_project.http.parsers import read_json
from wvs_project.http.serializers import NoFields, StrictSerializer, query_values

Out = type[serializers.Serializer[Any]]
In = type[StrictSerializer]

NOTHING: Final[schema.Json] = {"type": "object", "additionalProperties": False, "description": "No fields, or no body."}
_STATUS_TEXT: Final = {200: "Done.", 202: "Accepted: a task does it."}


@dataclass(frozen=True, slots=True)
class Call:
    """A parsed request. `raw_body` is the body as received, for the idempotency hash."""

    request: Request
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    raw_body: Mapping[str, Any]

    @property
    def request_id(self) -> str:
        """Of this request."""
        return request_id_of(self.request)

    @property
    def traceparent(self) -> str:
        """Of the caller's trace, or empty."""
        return traceparent_of(self.request)


class ApiViewSet(ViewSet):
    """The base of all v1 views."""

    http_method_names = ["get", "head", "post", "delete"]


Method = Callable[..., Response]


def endpoint(
    operation_id: str,
    *,
    answer: Out,
    status: int = 200,
    query: In = NoFields,
    body: In | None = None,
    refusals: Sequence[ErrorCode] = (),
    idempotent: bool = False,
    may_hurry: bool = False,
    in_path: bool = True,
    tag: str,
) -> Callable[[Method], Method]:
    """Declare an operation. `body` is None for reads; writes without fields have NoFields.

    `idempotent`: it takes an Idempotency-Key and answers with a task. `may_hurry`: its success may carry Retry-After.
    """
    errors = schema.errors_by_status(refusals, reads_body=body is not None, has_path_ids=in_path)
    responses: dict[int, Any] = {status: OpenApiResponse(answer, _STATUS_TEXT[status])}
    responses |= {code: schema.error_response(code, names) for code, names in errors.items()}
    headers = schema.header_parameters(status, errors, idempotent=idempotent, may_hurry=may_hurry)
    documented = extend_schema(
        operation_id=operation_id,
        request={"application/json": NOTHING} if body is NoFields else body,
        responses=responses,
        parameters=[*headers, *([] if query is NoFields else [query])],
        tags=[tag],
    )

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def parsed(view: ApiViewSet, request: Request, **path: str) -> Response:
            values = _validated(query, query_values(request.query_params))
            raw_body = {} if body is None else read_json(request)
            fields = {} if body is None else _validated(body, raw_body)
            return method(view, Call(request, values, fields, raw_body), **path)

        return documented(parsed)

    return decorate


def _validated(serializer_class: In, data: Mapping[str, Any]) -> Mapping[str, Any]:
    serializer = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    values: Mapping[str, Any] = serializer.validated_data
    return values
