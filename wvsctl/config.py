"""Where wvsctl looks and how long it waits: flag, else environment, else file, else default.

This alone reads the environment. The file is `--config`, or WVS_CONFIG, or `$XDG_CONFIG_HOME/wvsctl/config.toml`
(`~/.config/…`) where there is one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from wvsctl.errors import WvsctlError

VARIABLES: Final = {
    "api_url": "WVS_API_URL",
    "metrics_urls": "WVS_METRICS_URLS",
    "prometheus_url": "WVS_PROMETHEUS_URL",
    "timeout": "WVS_TIMEOUT",
    "request_timeout": "WVS_REQUEST_TIMEOUT",
    "retry_for": "WVS_RETRY_FOR",
    "output": "WVS_OUTPUT",
}
"""What can be set in the file, and the variable that says it."""
DEFAULTS: Final = {
    "api_url": "http://127.0.0.1:8080",
    "metrics_urls": "",
    "prometheus_url": "",
    "timeout": "10m",
    "request_timeout": "10s",
    "retry_for": "20s",
    "output": "table",
}
_DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h)?$")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


class ConfigError(WvsctlError):
    """A setting that cannot be used; it says which and where it is from."""


class OutputMode(StrEnum):
    """How results are shown."""

    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Flags:
    """What the command line says; None where it says nothing."""

    config: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked. Seconds: `timeout` of a wait, `request_timeout` of one answer, `retry_for` of tries until an answer."""

    api_url: str
    metrics_urls: tuple[str, ...]
    prometheus_url: str | None
    timeout: float
    request_timeout: float
    retry_for: float
    output: OutputMode


def read_settings(flags: Flags) -> Settings:
    """Raises ConfigError naming the setting and its source."""
    file, in_file = _read_file(flags.config)
    found: dict[str, tuple[Any, str]] = {}
    for name, variable in VARIABLES.items():
        if flags.values.get(name) is not None:
            found[name] = flags.values[name], f"--{name.replace('_', '-').removesuffix('s')}"
        elif os.environ.get(variable):
            found[name] = os.environ[variable], variable
        elif name in in_file:
            found[name] = in_file[name], f"{name} in {file}"
        else:
            found[name] = DEFAULTS[name], name
    return Settings(
        api_url=_url(*found["api_url"]),
        metrics_urls=_urls(*found["metrics_urls"]),
        prometheus_url=_url(*found["prometheus_url"]) if found["prometheus_url"][0] else None,
        timeout=seconds_of(*found["timeout"]),
        request_timeout=seconds_of(*found["request_timeout"]),
        retry_for=seconds_of(*found["retry_for"]),
        output=_mode(*found["output"]),
    )


def _read_file(given: Path | None) -> tuple[Path, dict[str, Any]]:
    named = given or (Path(name) if (name := os.environ.get("WVS_CONFIG")) else None)
    file = named or Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "wvsctl" / "config.toml"
    try:
        content = tomllib.loads(file.read_text())
    except FileNotFoundError:
        if named is not None:
            raise ConfigError(f"there is no configuration file {file}") from None
        return file, {}
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    unknown = sorted(content.keys() - VARIABLES.keys())
    if unknown:
        raise ConfigError(f"{file}: nobody knows {', '.join(unknown)}; there are {', '.join(VARIABLES)}")
    return file, content


def seconds_of(value: Any, source: str) -> float:
    """`30s`, `5m`, `500ms` or plain seconds. Raises ConfigError."""
    match = _DURATION.match(str(value))
    if match is None:
        raise ConfigError(f"{source}: {value!r} is not a duration such as 30s, 5m or 30")
    return float(match[1]) * _UNITS[match[2]]


def _url(value: Any, source: str) -> str:
    text = str(value).strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = None
    if not usable or any(not sign.isprintable() or sign.isspace() for sign in text):
        raise ConfigError(f"{source}: {text!r} is not an address such as http://127.0.0.1:8080")
    return text.rstrip("/")


def _urls(value: Any, source: str) -> tuple[str, ...]:
    several = value if isinstance(value, list | tuple) else [value]
    each = [part for one in several for part in str(one).replace(",", " ").split()]
    return tuple(dict.fromkeys(_url(one, source) for one in each))


def _mode(value: Any, source: str) -> OutputMode:
    try:
        return OutputMode(value)
    except ValueError:
        raise ConfigError(f"{source}: {value!r} is not one of {', '.join(OutputMode)}") from None
