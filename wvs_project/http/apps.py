"""What every v1 view shares, as a Django app: its path converters and the system check of the listeners."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags
from django.core.checks import register as register_check

from wvs_project.http import checks, converters


class HttpConfig(AppConfig):
    """No models."""

    name = "wvs_project.http"
    label = "wvs_http"

    def ready(self) -> None:
        """Before any urls module is read."""
        converters.register()
        register_check(checks.listeners_are_safe, Tags.security)
