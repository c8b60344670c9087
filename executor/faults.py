"""The disk's errors in the words of the port (SPEC §4)."""

from __future__ import annotations

import errno
from typing import Final

from executor.contract import ExecutorFault, FaultReason

FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# EBADF: what was opened through a mount is unknown to the process that serves it in the place of a killed one.
GONE: Final = (
    errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ESTALE, errno.EHOSTDOWN, errno.EROFS, errno.EBADF
)  # fmt: skip
FORBIDDEN: Final = (errno.EACCES, errno.EPERM)
UNSAFE: Final = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR)


def reason_of(error: OSError) -> FaultReason:
    """NO_SPACE and UNSAFE_PATH are permanent; everything else may pass."""
    if error.errno in FULL:
        return FaultReason.NO_SPACE
    if error.errno in GONE:
        return FaultReason.UNAVAILABLE
    if error.errno in UNSAFE:
        return FaultReason.UNSAFE_PATH
    if error.errno in FORBIDDEN:
        return FaultReason.CLONE_FAILED
    return FaultReason.INTERNAL


def fault_of(error: OSError, *, outcome_unknown: bool = False) -> ExecutorFault:
    """The fault that says what the disk said."""
    return ExecutorFault(reason_of(error), str(error), outcome_unknown=outcome_unknown)
