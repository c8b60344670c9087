"""Files of KEY=VALUE lines that a shell can source and only their owner can read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Replace `path` whole, mode 0600: a reader sees the old file or the new one."""
    half = path.with_name(f".{path.name}.half")
    half.unlink(missing_ok=True)
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
        file.flush()
        os.fsync(file.fileno())
    half.rename(path)


def read_env_file(path: Path) -> dict[str, str]:
    """The values in `path`; empty when there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {name: "".join(shlex.split(value)) for name, value in pairs}
