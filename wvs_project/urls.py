"""Every route."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from wvs_project.http.docs import URL_NAME, DocsView, OpenApiView

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("v1/openapi.json", OpenApiView.as_view(), name=URL_NAME),
    path("v1/docs", DocsView.as_view()),
    path("v1/", include("workspaces.api.urls")),
    path("v1/", include("snapshots.api.urls")),
    path("v1/", include("tasks.api.urls")),
]

handler400 = "wvs_project.http.exceptions.bad_request"
handler403 = "wvs_project.http.exceptions.permission_denied"
handler404 = "wvs_project.http.exceptions.not_found"
handler500 = "wvs_project.http.exceptions.server_error"
