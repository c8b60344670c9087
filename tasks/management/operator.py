"""What the operators' commands have in common: help with examples, the execution plane, exit code 2."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

CANNOT_BEGIN = 2
"""The exit code when there is nothing to work with."""


class _Raw(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Examples keep their lines."""


class OperatorCommand(BaseCommand):
    """A command that looks at the disk. `epilog` is shown below its options, line by line."""

    epilog = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With examples."""
        return super().create_parser(prog_name, subcommand, formatter_class=_Raw, epilog=self.epilog, **kwargs)


@contextmanager
def tools_for(application_name: str) -> Iterator[Tools]:
    """What a chore works with, for a command. Raises CommandError with exit code 2 when something does not answer."""
    stop = StopSignal()
    try:
        config = get_config()
        guards = GuardPool(direct_conninfo(application_name=application_name))
        try:
            yield Tools(connect_upkeep(config.executor_addrs), guards, stop, config)
        finally:
            guards.close()
    except (ConfigError, ExecutorConfigError, ExecutorFault) as error:
        raise CommandError(str(error), returncode=CANNOT_BEGIN) from None
    except (DatabaseError, InterfaceError, psycopg.Error) as error:
        raise CommandError(f"PostgreSQL: {error}", returncode=CANNOT_BEGIN) from None
    finally:
        stop.close()


def duration(text: str) -> float:
    """An option's duration, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
