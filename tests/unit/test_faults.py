"""What the disk said, in the words of the port (SPEC §4)."""

from __future__ import annotations

import errno

import pytest

from executor.contract import FaultReason
from executor.faults import fault_of

pytestmark = pytest.mark.rule("§4")


@pytest.mark.parametrize(
    ("number", "reason", "permanent"),
    [
        (errno.ENOSPC, FaultReason.NO_SPACE, True),
        (errno.EDQUOT, FaultReason.NO_SPACE, True),
        (errno.ELOOP, FaultReason.UNSAFE_PATH, True),
        (errno.ENOTCONN, FaultReason.UNAVAILABLE, False),
        (errno.EIO, FaultReason.UNAVAILABLE, False),
        (errno.EBADF, FaultReason.UNAVAILABLE, False),
        (errno.EACCES, FaultReason.CLONE_FAILED, False),
        (errno.EMFILE, FaultReason.INTERNAL, False),
    ],
)
def test_an_error_of_the_disk_has_its_reason_and_only_what_cannot_pass_is_permanent(
    number: int, reason: FaultReason, permanent: bool
) -> None:
    fault = fault_of(OSError(number, "said"))
    assert (fault.reason, fault.permanent) == (reason, permanent)
