"""The stack's one reader of the environment. What is given replaces the embedded part (SPEC §11)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from environs import EnvError, FileAwareEnv
from marshmallow.validate import OneOf, Range

from wvs_project.stack.errors import StackError

SOURCES = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Where the stack lives and which parts of it are given. Ports and addresses that are None are chosen free."""

    state: Path
    db_dsn: str | None
    redis_url: str | None
    mount_path: Path | None
    listen_addr: str | None
    metrics_addr: str | None
    postgres_port: int | None
    redis_port: int | None
    admin_user: str | None
    admin_password: str | None
    use_fuse: bool
    executors: int
    """Services of their own, each with a mount of its own; 0: one inside the worker."""
    environment: Mapping[str, str]
    """What the WVS processes inherit: all of ours, with this interpreter's programs first on PATH."""


def read_stack_config() -> StackConfig:
    """Read and check the environment. Raises StackError naming the variable."""
    env = FileAwareEnv(strip_whitespace=True)
    try:
        return _read(env)
    except (EnvError, ValueError) as error:
        raise StackError(str(error)) from None


def _read(env: FileAwareEnv) -> StackConfig:
    port = Range(1, 65535)
    mount = env.str("EXECUTOR_MOUNT_PATH", "")
    return StackConfig(
        state=Path(env.str("WVS_STACK_DIR", "") or SOURCES / ".stack").resolve(),
        db_dsn=env.str("WVS_DB_DSN", "") or None,
        redis_url=env.str("WVS_REDIS_URL", "") or None,
        mount_path=Path(mount).resolve() if mount else None,
        listen_addr=env.str("WVS_LISTEN_ADDR", "") or None,
        metrics_addr=env.str("WVS_METRICS_ADDR", "") or None,
        postgres_port=env.int("WVS_STACK_POSTGRES_PORT", None, validate=port),
        redis_port=env.int("WVS_STACK_REDIS_PORT", None, validate=port),
        admin_user=env.str("WVS_ADMIN_USER", "") or None,
        admin_password=env.str("WVS_ADMIN_PASSWORD", "") or None,
        use_fuse=env.str("WVS_STACK_FUSE", "auto", validate=OneOf(("auto", "off"))) == "auto",
        executors=env.int("WVS_STACK_EXECUTORS", 0, validate=Range(0, 16)),
        environment=_inherited(),
    )


def _inherited() -> dict[str, str]:
    programs = Path(sys.executable).parent
    path = os.environ.get("PATH", os.defpath)
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{path}", "PYTHONUNBUFFERED": "1"}
