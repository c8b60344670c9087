"""Routes below /v1."""

from __future__ import annotations

from django.urls import path

from tasks.api.views import AuditViews, TaskViews

urlpatterns = [
    path("tasks", TaskViews.as_view({"get": "list"})),
    path("tasks/<task_id:task_id>", TaskViews.as_view({"get": "retrieve"})),
    path("tasks/<task_id:task_id>:cancel", TaskViews.as_view({"post": "cancel"})),
    path("audit", AuditViews.as_view({"get": "list"})),
]
