"""The command line and the Python client of the API v1 of WVS (SPEC §4, §9); installable alone."""

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
