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
_chore_paths: dict[str, bool] = {}


def register(op: str, path: str) -> None:
    """Name the class that does `op`; called in AppConfig.ready()."""
    _paths[op] = path


@cache
def operation_for(op: str) -> Operation:
    """The operation that does `op`. Raises KeyError for one that nobody registered."""
    operation: Operation = import_string(_paths[op])()
    return operation


def register_chore(path: str, *, prompt: bool = False) -> None:
    """Name a class whose work the scheduler does from time to time, or within seconds; called in AppConfig.ready()."""
    _chore_paths[path] = prompt


def registered_chores(*, prompt: bool = False) -> list[Chore]:
    """One of each, in the order of the apps: those that are done within seconds, or the others."""
    return [import_string(path)() for path, is_prompt in _chore_paths.items() if is_prompt is prompt]
