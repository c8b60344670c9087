"""What the operators' commands have in common: help with examples, the execution plane, exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, InterfaceError

from executor.contract import ExecutorFault, StopSignal
from executor.durations import parse_duration
from executor.local import ExecutorConfigError
from tasks.chores import Tools
from tasks.executors import connect_upkeep
from tasks.locks import GuardPool
from wvs_project.config import ConfigError, get_config
from wvs_project.db import direct_conninfo

T = TypeVar("T")
CANNOT_BEGIN: Final = 2
"""The exit code when there is nothing to work with."""


class _Raw(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines."""


class OperatorCommand(BaseCommand):
    """A command for operators. `epilog` is shown below its options, line by line."""

    epilog = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With examples."""
        return super().create_parser(prog_name, subcommand, formatter_class=_Raw, epilog=self.epilog, **kwargs)

    def progress(self, things: Iterable[T], what: str, *, total: int | None = None) -> Iterator[T]:
        """The same things; on a terminal also how far it is."""
        shown = sys.stderr.isatty()
        of = "" if total is None else f" of {total}"
        for number, thing in enumerate(things, start=1):
            yield thing
            if shown:
                self.stderr.write(f"\r{number}{of} {what}", ending="")
        if shown:
            self.stderr.write("")


@contextmanager
def answering() -> Iterator[None]:
    """Raises CommandError with exit code 2 when something does not answer, or is not set up."""
    try:
        yield
    except (ConfigError, ExecutorConfigError, ExecutorFault) as error:
        raise CommandError(str(error), returncode=CANNOT_BEGIN) from None
    except (DatabaseError, InterfaceError, psycopg.Error) as error:
        raise CommandError(f"PostgreSQL: {error}", returncode=CANNOT_BEGIN) from None


@contextmanager
def tools_for(application_name: str) -> Iterator[Tools]:
    """What a chore works with, for a command. Raises CommandError with exit code 2 when something does not answer."""
    stop = StopSignal()
    try:
        with answering():
            config = get_config()
            guards = GuardPool(direct_conninfo(application_name=application_name))
            try:
                yield Tools(connect_upkeep(config.executor_addrs), guards, stop, config)
            finally:
                guards.close()
    finally:
        stop.close()


def duration(text: str) -> float:
    """An option's duration, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
