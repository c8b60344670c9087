"""Who tries to log in, and what is told to whoever tried too often (SPEC §10, docs/adr/0016)."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from wvs_project.config import get_config

_SAID: Final = "Too many failed attempts to log in. Try again in {minutes} minutes.\n"


def address_of(request: HttpRequest) -> str:
    """The client's address: as the proxy saw it where one is ours, and never as the client itself says."""
    seen: str = request.META.get("REMOTE_ADDR", "")
    if not get_config().behind_tls:
        return seen
    told: str = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return told.rpartition(",")[2].strip() or seen


def locked_out(request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any] | None) -> HttpResponse:
    """429, whether or not the password was right this time."""
    wait = int(settings.AXES_COOLOFF_TIME.total_seconds())
    headers = {"Retry-After": str(wait), "Cache-Control": "no-store"}
    return HttpResponse(_SAID.format(minutes=wait // 60), status=429, content_type="text/plain", headers=headers)
