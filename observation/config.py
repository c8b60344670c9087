"""What is read of OpenTelemetry's environment before its SDK is loaded; all the rest is read by the SDK itself."""

from __future__ import annotations

from typing import Final

from environs import FileAwareEnv

from observation.tracing import EXPORTERS

_PROTOCOL: Final = "http/protobuf"


def traces_exporter(env: FileAwareEnv) -> str:
    """Where this process's traces go: none, console or otlp. Raises ValueError with the name of what is unusable."""
    given = env.str("OTEL_TRACES_EXPORTER", "") or "none"
    if env.str("OTEL_SDK_DISABLED", "").lower() == "true":
        return "none"
    if given not in EXPORTERS:
        raise ValueError(f"OTEL_TRACES_EXPORTER={given} must be one of {', '.join(EXPORTERS)}")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if given == "otlp" and env.str(name, "") not in ("", _PROTOCOL):
            raise ValueError(f"{name} must be {_PROTOCOL}, which goes to port 4318 of most collectors")
    return given
