"""An actor: real code in a thread of its own, with connections of its own, cut into steps.

It stands still before every statement, every commit, every taking and freeing of RUN and every bell, until it is let
on. What commutes with everything that another actor may do is no step of its own: savepoints, and what is only written
and read by none of them (NOTIFY before its commit, audit rows).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Final

from django.db import connection, connections

from tests.waiting import LIMIT
from wvs_project.errors import WvsError

_COMMUTES: Final = re.compile(r"SAVEPOINT|RELEASE|ROLLBACK TO|SELECT pg_notify|INSERT INTO \"audit\"")
_SUBJECT: Final = re.compile(r"(?:FROM|INTO|UPDATE) \"?(\w+)")
_standing = threading.local()


def pause(label: str) -> None:
    """A step begins here, if the thread is an actor's."""
    actor: Actor | None = getattr(_standing, "actor", None)
    if actor is not None:
        actor.stand(label)


def acting() -> str:
    """The name of the actor whose thread this is; empty for any other thread."""
    actor: Actor | None = getattr(_standing, "actor", None)
    return actor.name if actor is not None else ""


class Actor:
    """`call`, begun at once, as far as its first step."""

    def __init__(self, name: str, call: Callable[[], object]) -> None:
        self.name = name
        self.label = ""
        """The step before which it stands, or began last."""
        self.is_over = False
        self.is_blocked = False
        self.backend_pid = 0
        self.result: object = None
        """What the call returned, or the refusal that it raised."""
        self.error: BaseException | None = None
        """What else it raised."""
        self._call = call
        self._abandoned = False
        self._may_go = threading.Semaphore(0)
        self._stands = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"actor {name}")
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """It stands before a step."""
        return self._stands.is_set() and not self.is_over

    def wait_standing(self, seconds: float) -> bool:
        """Whether it stands before its next step, or is over, within so long."""
        return self._stands.wait(seconds)

    def go_on(self) -> None:
        """Let it take the step before which it stands."""
        self._stands.clear()
        self._may_go.release()

    def abandon(self) -> None:
        """Let it run to its end, whatever it does."""
        self._abandoned = True
        self._may_go.release()

    def join(self) -> None:
        """Wait until its thread has ended and its connections are given back."""
        self._thread.join(LIMIT)
        if self._thread.is_alive():
            raise RuntimeError(f"{self.name} has not ended: it stands at {self.label}")

    def stand(self, label: str) -> None:
        """Called by its own thread."""
        if self._abandoned:
            return
        self.label = label
        self._stands.set()
        if not self._may_go.acquire(timeout=LIMIT):
            raise RuntimeError(f"nobody let {self.name} go on at {label}")

    def _run(self) -> None:
        try:
            with connection.cursor() as cursor:
                # The schedule decides how long it waits, not the machine's load.
                cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{LIMIT:g}s"])
            self.backend_pid = connection.connection.info.backend_pid
            _standing.actor = self
            with connection.execute_wrapper(self._before):
                self.result = self._call()
        except WvsError as refusal:
            self.result = refusal
        except BaseException as error:
            self.error = error
        finally:
            _standing.actor = None
            self._give_back()
            self.is_over = True
            self._stands.set()

    def _give_back(self) -> None:
        if connection.connection is not None and not connection.connection.closed:
            with connection.cursor() as cursor:
                cursor.execute("RESET lock_timeout")
        connections.close_all()

    def _before(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not _COMMUTES.match(sql):
            self.stand(_brief(sql))
        return execute(sql, params, many, context)


def _brief(sql: str) -> str:
    subject = _SUBJECT.search(sql)
    lock = " … FOR UPDATE" if re.search(r"FOR (NO KEY )?UPDATE", sql) else ""
    return f"{sql.split(None, 1)[0]} {subject[1] if subject else ''}{lock}"
