"""What the leading scheduler does from time to time beside its beat (SPEC §6: "runs the sweep on its schedule").

In a thread of its own, since rescue must not wait for a disk. Every chore is safe with two leaders, and may be stopped
at any point: the next one goes on where it stood.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from django.db import connection

from executor.contract import ExecutorFault, Stopped, StopReason, StopSignal
from executor.upkeep import Upkeep
from tasks.locks import GuardPool
from wvs_project.config import Config

FIRST_AFTER_SECONDS: Final = 60.0
"""After a start others have more urgent things to do."""
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

    def run(self, tools: Tools) -> None:
        """Do it once. May raise: it is logged, and tried again at the next time. Raises Stopped when told to stop."""
        ...


class Chores:
    """Runs all chores each `config.sweep_interval` seconds while `leading` is set. start() … stop()."""

    def __init__(
        self,
        chores: Sequence[Chore],
        *,
        config: Config,
        guards: GuardPool,
        leading: threading.Event,
        connect: Callable[[], Upkeep],
    ) -> None:
        """`connect` is called for each round: the volume need not be there when the scheduler starts."""
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
        wait = min(FIRST_AFTER_SECONDS, self._config.sweep_interval)
        while self._waited_while_leading(wait):
            self.round()
            wait = self._config.sweep_interval

    def _waited_while_leading(self, seconds: float) -> bool:
        """Wait until we lead, and then so long; False when told to stop."""
        while not self._leading.wait(_LOOK_SECONDS):
            if self._stop.reason is not None:
                return False
        return not self._stop.wait(seconds)

    def round(self) -> None:
        """Every chore once. Never raises."""
        try:
            tools = Tools(self._connect(), self._guards, self._stop, self._config)
        except Exception as error:
            log.warning("chores.no_executor", error=str(error))
            return
        for chore in self._chores:
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
