"""Where the engine finds the operations and the scheduler its chores.

By dotted path, since AppConfig.ready() is no place to import models from.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from tasks.chores import Chore
    from tasks.operations import Operation

_paths: dict[str, str] = {}
_chore_paths: list[str] = []


def register(op: str, path: str) -> None:
    """Name the class that does `op`; called in AppConfig.ready()."""
    _paths[op] = path


@cache
def operation_for(op: str) -> Operation:
    """The operation that does `op`. Raises KeyError for one that nobody registered."""
    operation: Operation = import_string(_paths[op])()
    return operation


def register_chore(path: str) -> None:
    """Name a class whose work the scheduler does from time to time; called in AppConfig.ready()."""
    if path not in _chore_paths:
        _chore_paths.append(path)


def registered_chores() -> list[Chore]:
    """One of each, in the order of the apps."""
    return [import_string(path)() for path in _chore_paths]
