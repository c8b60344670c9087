"""Two paths."""

from __future__ import annotations

from django.urls import path

from benchmarks.bare.views import Items, OneItem

urlpatterns = [path("items", Items.as_view()), path("items/<int:pk>", OneItem.as_view())]
