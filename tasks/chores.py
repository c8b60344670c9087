"""What the leading scheduler does from time to time beside its beat (SPEC §6: "runs the sweep on its schedule").

In threads of their own: rescue must not wait for a disk, nor what an operator waits for for a sweep of everything.
Every chore is safe with two leaders, and may be stopped at any point: the next one goes on where it stood.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from django.db import DatabaseError, InterfaceError, connection

from executor.contract import ExecutorFault, Stopped, StopReason, StopSignal
from executor.upkeep import Upkeep
from tasks.locks import GuardPool
from wvs_project.config import Config

FIRST_AFTER_SECONDS: Final = 60.0
"""After a start others have more urgent things to do."""
PROMPT_SECONDS: Final = 5.0
"""How often it is asked whether a prompt chore is wanted."""
_LOOK_SECONDS: Final = 1.0
_END_SECONDS: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a chore works with."""

    upkeep: Upkeep
    guards: GuardPool
    stop: StopSignal
    config: Config


class Chore(Protocol):
    """Work that is never urgent."""

    name: str

    def wanted(self) -> bool:
        """Whether there is anything to do now, asked of the tables alone; always, unless a chore says otherwise.

        May raise: then nothing is done now.
        """
        return True

    def run(self, tools: Tools) -> None:
        """Do it once. May raise: it is logged, and tried again at the next time. Raises Stopped when told to stop."""
        ...


class Chores:
    """Runs all chores that are wanted each `interval` seconds while `leading` is set. start() … stop()."""

    def __init__(
        self,
        chores: Sequence[Chore],
        *,
        config: Config,
        guards: GuardPool,
        leading: threading.Event,
        connect: Callable[[], Upkeep],
        interval: float | None = None,
    ) -> None:
        """`connect` is called for each round: the volume need not be there when the scheduler starts.

        `interval` is config.sweep_interval unless given.
        """
        self._interval = config.sweep_interval if interval is None else interval
        self._chores = chores
        self._config = config
        self._guards = guards
        self._leading = leading
        self._connect = connect
        self._stop = StopSignal()
        self._thread = threading.Thread(target=self._run, name="wvs-chores", daemon=True)

    def start(self) -> None:
        """Begin to wait for the first time."""
        self._thread.start()

    def stop(self) -> None:
        """Stop what runs and wait for its end. A chore that hangs on a dead disk is left behind with the process."""
        self._stop.stop(StopReason.SHUTDOWN)
        if self._thread.ident is not None:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        wait = min(FIRST_AFTER_SECONDS, self._interval)
        while self._waited_while_leading(wait):
            self.round()
            wait = self._interval

    def _waited_while_leading(self, seconds: float) -> bool:
        """Wait until we lead, and then so long; False when told to stop."""
        while not self._leading.wait(_LOOK_SECONDS):
            if self._stop.reason is not None:
                return False
        return not self._stop.wait(seconds)

    def round(self) -> None:
        """Every chore that is wanted, once. Never raises."""
        wanted = [chore for chore in self._chores if _is_wanted(chore)]
        if not wanted:
            return
        try:
            tools = Tools(self._connect(), self._guards, self._stop, self._config)
        except Exception as error:
            log.warning("chores.no_executor", error=str(error))
            return
        for chore in wanted:
            try:
                chore.run(tools)
            except Stopped:
                return
            except ExecutorFault as fault:
                log.warning("chore.failed", chore=chore.name, reason=fault.reason, error=fault.message)
            except Exception:
                log.exception("chore.failed", chore=chore.name)
            finally:
                connection.close()


def _is_wanted(chore: Chore) -> bool:
    try:
        return chore.wanted()
    except (DatabaseError, InterfaceError) as error:
        log.warning("chore.not_asked", chore=chore.name, error=str(error))
        return False
    finally:
        connection.close()
