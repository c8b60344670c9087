"""The API's description of itself: /v1/openapi.json and the page that browses it, without anything from elsewhere."""

from __future__ import annotations

import threading
from functools import cache
from typing import Final

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.views import APIView

URL_NAME: Final = "openapi"
# Its script is a request of its own, for no script of ours is inline.
_swagger_page = SpectacularSwaggerSplitView.as_view(url_name=URL_NAME)


# drf-spectacular's generator cannot run in two threads at once.
_generating = threading.Lock()


def openapi_json() -> bytes:
    """The description, generated from the code once in a process."""
    with _generating:
        return _generate()


@cache
def _generate() -> bytes:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    document = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = OpenApiJsonRenderer().render(document, renderer_context={})
    return rendered


@extend_schema(exclude=True)
class OpenApiView(APIView):
    """GET /v1/openapi.json."""

    http_method_names = ["get", "head"]

    def get(self, request: Request) -> HttpResponse:
        """The document."""
        return HttpResponse(openapi_json(), content_type="application/json")


@extend_schema(exclude=True)
class DocsView(APIView):
    """GET /v1/docs: Swagger UI from the package, not from a CDN."""

    http_method_names = ["get", "head"]

    def get(self, request: Request) -> HttpResponse:
        """The page. Rendered here, so that a refusal is JSON as everywhere."""
        page = _swagger_page(request._request).render()
        return HttpResponse(page.content, content_type=page["Content-Type"])
