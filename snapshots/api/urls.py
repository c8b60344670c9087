"""Routes below /v1/workspaces/{wsid}."""

from __future__ import annotations

from django.urls import path

from snapshots.api.views import CurrentViews, SnapshotViews

urlpatterns = [
    path("workspaces/<wsid:wsid>/snapshots", SnapshotViews.as_view({"get": "list", "post": "create"})),
    path(
        "workspaces/<wsid:wsid>/snapshots/<snapshot_id:snapshot_id>",
        SnapshotViews.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    path("workspaces/<wsid:wsid>/current", CurrentViews.as_view({"get": "retrieve"})),
    path("workspaces/<wsid:wsid>/current:set", CurrentViews.as_view({"post": "set"})),
]
