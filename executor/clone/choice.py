"""Which driver a volume gets (SPEC §2, EXECUTOR_CLONE_DRIVER)."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, Final

from executor.clone.copy import CopyDriver, copy_data, reflink_works, share_data
from executor.clone.driver import CloneDriver
from executor.clone.juicefs import JuiceFSDriver
from executor.config import ExecutorConfig, ExecutorConfigError

_ROOT_INODE: Final = 1
_UNMOUNTED_HINT: Final = "mount the volume, or set EXECUTOR_MOUNT_PATH to where it is mounted"


def is_juicefs(mount: Path) -> bool:
    """Whether a JuiceFS volume is mounted there, its whole tree or a directory of it."""
    return mount.stat().st_ino == _ROOT_INODE and any((mount / name).exists() for name in (".config", ".stats"))


def choose_driver(config: ExecutorConfig) -> CloneDriver:
    """The driver that the settings name, or the best one that works there. Raises ExecutorConfigError."""
    mount = config.mount_path
    try:
        is_directory = stat.S_ISDIR(mount.stat().st_mode)
    except OSError as error:
        raise ExecutorConfigError(f"EXECUTOR_MOUNT_PATH={mount}: {error.strerror}; {_UNMOUNTED_HINT}") from None
    if not is_directory:
        raise ExecutorConfigError(f"EXECUTOR_MOUNT_PATH={mount} is not a directory; {_UNMOUNTED_HINT}")
    wanted = config.clone_driver
    if wanted == "auto":
        wanted = "juicefs" if is_juicefs(mount) else "reflink" if reflink_works(mount) else "copy"
    if wanted == "juicefs":
        return _juicefs(config)
    if wanted == "reflink":
        if not reflink_works(mount):
            raise ExecutorConfigError(f"EXECUTOR_CLONE_DRIVER=reflink: {mount} cannot share blocks; try `copy`")
        return CopyDriver("reflink", share_data)
    return CopyDriver("copy", copy_data)


def _juicefs(config: ExecutorConfig) -> CloneDriver:
    mount = config.mount_path
    if not is_juicefs(mount):
        raise ExecutorConfigError(f"EXECUTOR_CLONE_DRIVER=juicefs: {mount} is no JuiceFS mount; {_UNMOUNTED_HINT}")
    if config.juicefs is None:
        raise ExecutorConfigError("the juicefs program is not found: put it on PATH or set EXECUTOR_JUICEFS")
    if _writes_back(mount):
        raise ExecutorConfigError(
            f"{mount} is mounted with --writeback: a snapshot could miss data that only this host has; mount without it"
        )
    return JuiceFSDriver(config.juicefs, config.clone_threads, mount)


def identity_of(mount: Path) -> str:
    """What tells this volume from another that is mounted in its place: a JuiceFS volume's own id, else the device.

    Raises OSError for a dead mount.
    """
    if not is_juicefs(mount):
        return f"device {mount.stat().st_dev}"
    # An executor that may not read the mount's settings cannot tell one JuiceFS volume from another.
    return f"juicefs {_settings_of(mount).get('Format', {}).get('UUID', '')}"


def _writes_back(mount: Path) -> bool:
    return bool(_settings_of(mount).get("Chunk", {}).get("Writeback"))


def _settings_of(mount: Path) -> dict[str, Any]:
    """What the mount says of itself; nothing to those who may not read it."""
    try:
        settings = json.loads((mount / ".config").read_bytes())
    except (PermissionError, FileNotFoundError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
