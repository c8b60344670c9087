"""How this process reaches the execution plane (SPEC §1, §7, §11: EXECUTOR_ADDRS)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from executor.client import RemoteExecutor, open_remote_executor, parse_addrs
from executor.contract import Executor
from executor.local import ExecutorConfigError, LocalExecutor, open_local_executor
from executor.upkeep import Upkeep
from wvs_project.config import ConfigError

LOCAL: Final = "local"


def connect_executor(addrs: Sequence[str]) -> Executor:
    """The executor that EXECUTOR_ADDRS names: services over gRPC, or `local`, which reads the executor's own settings.

    Raises ConfigError and ExecutorConfigError. A service that does not answer is no error here: its workspaces wait.
    With `local` this process holds the rights of both planes and says so at start.
    """
    return _connect(addrs, counted=True)


def connect_upkeep(addrs: Sequence[str]) -> Upkeep:
    """The same execution plane as the sweeper sees it. Raises as `connect_executor` does."""
    return _connect(addrs, counted=False)


def _connect(addrs: Sequence[str], *, counted: bool) -> LocalExecutor | RemoteExecutor:
    """`counted`: what one in this process does is among the process's metrics; a service shows its own."""
    require_addrs(addrs)
    return open_local_executor(counted=counted) if list(addrs) == [LOCAL] else open_remote_executor(addrs)


def require_addrs(addrs: Sequence[str]) -> None:
    """Raises ConfigError unless EXECUTOR_ADDRS names what can be reached. Reaches nothing."""
    if not addrs:
        raise ConfigError(
            "EXECUTOR_ADDRS is required: host:port of each executor, separated by commas, "
            "or `local` for an executor inside this process"
        )
    if list(addrs) == [LOCAL]:
        return
    if LOCAL in addrs:
        raise ConfigError(f"EXECUTOR_ADDRS={','.join(addrs)}: `local` stands alone or not at all")
    try:
        parse_addrs(addrs)
    except ExecutorConfigError as error:
        raise ConfigError(str(error)) from None
