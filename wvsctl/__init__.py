"""The command line and the Python client of WVS's API v1 (SPEC §4, §9). Nothing of the service in it; installable alone."""

from wvsctl.client import Client
from wvsctl.errors import ApiError, Unreachable, WaitTimedOut, WvsctlError
from wvsctl.models import AuditEvent, Current, Page, Snapshot, Task, Workspace

__all__ = [
    "ApiError",
    "AuditEvent",
    "Client",
    "Current",
    "Page",
    "Snapshot",
    "Task",
    "Unreachable",
    "WaitTimedOut",
    "Workspace",
    "WvsctlError",
]
