"""Calls that a test stops, overtakes, waits for, or sees refused."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from executor.contract import ExecutorFault, StopSignal
from tests.executor.scene import LIMIT


class Call:
    """It runs from now on."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._outcome: object = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._work()
        except BaseException as error:
            self._outcome = error

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def outcome(self) -> object:
        """Wait for the end; what the call returned or raised."""
        self._thread.join(LIMIT)
        assert self.is_over, "the call has not ended"
        return self._outcome

    def result(self) -> object:
        """Wait for the end; what the call returned. Raises what it raised."""
        outcome = self.outcome()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class Meanwhile(StopSignal):
    """A signal whose every check, counted from 1, is a moment at which something else happens."""

    def __init__(self, happens: Callable[[int], None]) -> None:
        super().__init__()
        self.checks = 0
        self._happens = happens

    def check(self) -> None:
        self.checks += 1
        self._happens(self.checks)
        super().check()


def refusal(call: Callable[[], object]) -> ExecutorFault:
    """The fault that the call raises."""
    with pytest.raises(ExecutorFault) as caught:
        call()
    return caught.value
