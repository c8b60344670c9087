"""Django system checks of what is served (SPEC §10)."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error

from wvs_project.config import get_config

EXPOSED_ID = "wvs.E001"


def listeners_are_safe(**kwargs: Any) -> list[CheckMessage]:
    """Without authentication every listener is on loopback, or the operator says that this is meant (RK-05)."""
    return [
        Error(
            f"{listener} can be reached from other machines, and WVS_AUTH=none asks nobody who they are.",
            hint="Bind to 127.0.0.1, or set WVS_INSECURE_ALLOW_REMOTE=1 if something else protects it.",
            id=EXPOSED_ID,
        )
        for listener in get_config().exposed_listeners()
    ]
