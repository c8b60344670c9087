"""How this process reaches the execution plane (SPEC §1, §11: EXECUTOR_ADDRS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from executor.contract import Executor
from executor.local import open_local_executor
from executor.upkeep import Upkeep
from wvs_project.config import ConfigError

LOCAL: Final = "local"


def connect_executor(addrs: Sequence[str]) -> Executor:
    """The executor that EXECUTOR_ADDRS names. Raises ConfigError; `local` also reads the executor's own settings.

    With `local` this process holds the rights of both planes and says so at start.
    """
    require_addrs(addrs)
    return open_local_executor()


def connect_upkeep(addrs: Sequence[str]) -> Upkeep:
    """The same execution plane as the sweeper sees it. Raises as `connect_executor` does."""
    require_addrs(addrs)
    return open_local_executor()


def require_addrs(addrs: Sequence[str]) -> None:
    """Raises ConfigError unless EXECUTOR_ADDRS names what this release can reach. Reaches nothing."""
    if not addrs:
        raise ConfigError("EXECUTOR_ADDRS is required: `local` for an executor inside this process")
    if list(addrs) != [LOCAL]:
        raise ConfigError(f"EXECUTOR_ADDRS={','.join(addrs)}: only `local` is supported by this release")
