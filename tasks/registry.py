"""Where the engine finds the operations. By dotted path, since AppConfig.ready() is no place to import models from."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from tasks.operations import Operation

_paths: dict[str, str] = {}


def register(op: str, path: str) -> None:
    """Name the class that does `op`; called in AppConfig.ready()."""
    _paths[op] = path


@cache
def operation_for(op: str) -> Operation:
    """The operation that does `op`. Raises KeyError for one that nobody registered."""
    operation: Operation = import_string(_paths[op])()
    return operation
