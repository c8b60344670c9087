"""Routes below /v1."""

from __future__ import annotations

from django.urls import path

from workspaces.api.views import WorkspaceViews

urlpatterns = [
    path("workspaces", WorkspaceViews.as_view({"get": "list", "post": "create"})),
    path("workspaces/<wsid:wsid>", WorkspaceViews.as_view({"get": "retrieve", "delete": "destroy"})),
    path("workspaces/<wsid:wsid>/retry-init", WorkspaceViews.as_view({"post": "retry_init"})),
]
