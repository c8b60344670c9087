"""What `scale.py` measures on one side: pages of the admin and the API through WSGI, and a worker's claim.

Needs Django to be set up. Each probe says how long it took, in seconds, and how many rows it showed.
"""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.test import Client

from benchmarks.in_process import ClockingExecutor
from benchmarks.scale_data import BUSY_SNAPSHOT, Size
from snapshots.days import note_kept
from snapshots.models import Snapshot
from tasks import actors
from tasks.days import count_days
from tasks.engine import Engine
from tasks.models import AuditEvent, Task
from tasks.worker import build_engine
from workspaces.models import Order, Workspace
from wvs_project.config import get_config

DEEP_PAGE: Final = 5000
_ADMIN_PAGE, _API_PAGE, _API_MOST = 50, 20, 100

_TASKS = "/admin/tasks/task/"
_WORKSPACES = "/admin/workspaces/workspace/"
_SNAPSHOTS = "/admin/snapshots/snapshot/"
_AUDIT = "/admin/tasks/auditevent/"
_ORDERS = "/admin/workspaces/order/"


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of a probe."""

    seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing to measure. Its name is the same on both sides."""

    what: str
    measure: Callable[[], Measured]

    def run(self) -> tuple[float, int]:
        """Seconds and rows."""
        measured = self.measure()
        return measured.seconds, measured.rows


@dataclass
class Side:
    """A logged-in browser, a client of the API and a worker."""

    size: Size
    engine: Engine
    executor: ClockingExecutor
    client: Client = field(default_factory=lambda: Client(SERVER_NAME="127.0.0.1", raise_request_exception=True))
    probes: list[Probe] = field(default_factory=list)

    def look(self, what: str, url: str) -> None:
        """A page of the admin."""
        self.probes.append(Probe(what, lambda: self._get(url)))

    def ask(self, query: str, name: str) -> None:
        """A GET of the API."""
        self.probes.append(Probe(f"GET {name}", lambda: self._get(f"/v1/{query}")))

    def _get(self, url: str) -> Measured:
        begin = time.perf_counter()
        answer = self.client.get(url)
        seconds = time.perf_counter() - begin
        if answer.status_code != 200:
            raise RuntimeError(f"{url}: {answer.status_code}")
        if url.startswith("/v1/"):
            body = answer.json()
            return Measured(seconds, len(body["items"]) if "items" in body else 1)
        shown = (getattr(answer, "context_data", None) or {}).get("cl")
        return Measured(seconds, len(shown.result_list) if shown else answer.content.count(b"<tr"))

    def post(self) -> Measured:
        """A snapshot of the workspace in which nothing waits."""
        url, key = f"/v1/workspaces/{self.size.quiet}/snapshots", uuid.uuid4().hex
        begin = time.perf_counter()
        answer = self.client.post(url, data={}, content_type="application/json", headers={"Idempotency-Key": key})
        seconds = time.perf_counter() - begin
        if answer.status_code != 202:
            raise RuntimeError(f"{url}: {answer.status_code}")
        return Measured(seconds, 1)

    def claim(self) -> Measured:
        """From a bell to the executor: the lock, the claim. It is the task of the POST before, which then ends."""
        self.executor.called.clear()
        begin = time.perf_counter()
        self.engine.serve(self.size.quiet)
        if not self.executor.called.is_set():
            raise RuntimeError("there was nothing to claim: a POST comes first")
        return Measured(self.executor.called_at - begin, 1)


@contextmanager
def prepared(finished: int) -> Iterator[Side]:
    """The side of so many finished tasks: what the scheduler counts is counted, somebody is logged in."""
    executor = ClockingExecutor()
    engine = build_engine(get_config(), executor)
    actors.install(engine)
    count_days()
    note_kept()
    side = Side(Size.of(finished), engine, executor)
    user, _ = User.objects.get_or_create(username="ann", is_staff=True, is_superuser=True)
    side.client.force_login(user)
    try:
        _add_api(side)
        _add_admin(side)
        _add_row_pages(side)
        gc.collect()
        gc.freeze()
        yield side
    finally:
        engine.close()


def _add_api(side: Side) -> None:
    """The queue first: what its probes add is the same on both sides."""
    side.probes += [Probe("POST snapshot", side.post), Probe("claim", side.claim)]
    deep = _api_cursor(side.client, Task.objects.count())
    side.ask("tasks", "tasks, page 1")
    side.ask(f"tasks?cursor={deep}", "tasks, page 5,000")
    side.ask(f"tasks?wsid={side.size.busy}", "tasks?wsid")
    for status in ("PENDING", "RUNNING", "FAILED", "SUCCEEDED", "CANCELED", "DEAD"):
        side.ask(f"tasks?status={status}", f"tasks?status={status}")
    for op in ("init_workspace", "snapshot_create", "snapshot_drop", "set_current"):
        side.ask(f"tasks?op={op}", f"tasks?op={op}")
    side.ask("tasks?status=DEAD&op=set_current", "tasks?status=DEAD&op=set_current")
    side.ask("workspaces", "workspaces")
    side.ask(f"workspaces/{side.size.busy}/snapshots", "snapshots of one workspace")
    side.ask("audit", "audit")
    side.ask("audit?action=task.cancel", "audit?action=task.cancel")


def _add_admin(side: Side) -> None:
    busy = side.size.busy
    task = Task.objects.of_workspace(busy).order_by("task_id")[100]
    snapshot = Snapshot.objects.of_workspace(busy).order_by("snapshot_id")[0]
    side.look("dashboard", "/admin/")
    _add_list(side, "tasks", _TASKS, Task.objects.order_by("-created_at", "-task_id"), "created_at")
    for status in ("PENDING", "RUNNING", "FAILED", "SUCCEEDED", "CANCELED", "DEAD"):
        side.look(f"tasks: {status}", f"{_TASKS}?status__exact={status}")
    for op in ("init_workspace", "snapshot_create", "snapshot_drop", "set_current"):
        side.look(f"tasks: {op}", f"{_TASKS}?op__exact={op}")
    side.look("tasks: of a workspace", f"{_TASKS}?wsid={busy}")
    side.look("tasks: of a snapshot", f"{_TASKS}?wsid={busy}&snapshot_id={BUSY_SNAPSHOT}")
    side.look("tasks: search for an id", f"{_TASKS}?q={task.task_id}")
    side.look("tasks: search for the beginning of ids", f"{_TASKS}?q={task.task_id[:6]}")
    side.look("tasks: search for a wsid", f"{_TASKS}?q={busy}")
    _add_list(side, "workspaces", _WORKSPACES, Workspace.objects.order_by("-created_at", "-wsid"), "created_at")
    for state in ("PROVISIONING", "ACTIVE", "INIT_FAILED", "DISABLED"):
        side.look(f"workspaces: {state}", f"{_WORKSPACES}?state__exact={state}")
    side.look("workspaces: of an owner", f"{_WORKSPACES}?owner=team-a")
    side.look("workspaces: search for a wsid", f"{_WORKSPACES}?q={busy}")
    side.look("workspaces: search for the beginning of wsids", f"{_WORKSPACES}?q=ws-")
    side.look("workspaces: search for an owner", f"{_WORKSPACES}?q=team-a")
    _add_list(side, "snapshots", _SNAPSHOTS, Snapshot.objects.order_by("-snapshot_id"), None)
    for disk in ("kept", "dropped", "missing"):
        side.look(f"snapshots: {disk}", f"{_SNAPSHOTS}?disk={disk}")
    side.look("snapshots: of a workspace", f"{_SNAPSHOTS}?wsid={busy}")
    side.look("snapshots: search for an id", f"{_SNAPSHOTS}?q={snapshot.pk}")
    side.look("snapshots: search for the beginning of ids", f"{_SNAPSHOTS}?q={snapshot.pk[:6]}")
    side.look("snapshots: search for a wsid", f"{_SNAPSHOTS}?q={busy}")
    _add_list(side, "audit", _AUDIT, AuditEvent.objects.order_by("-ts", "-event_id"), "ts")
    side.look("audit: of a workspace", f"{_AUDIT}?wsid={busy}")
    side.look("audit: of a task", f"{_AUDIT}?task_id={task.task_id}")
    side.look("audit: task.cancel", f"{_AUDIT}?action=task.cancel")
    side.look("audit: search for an id", f"{_AUDIT}?q={AuditEvent.objects.order_by('-ts')[100].pk}")
    _add_list(side, "orders", _ORDERS, Order.objects.order_by("-created_at", "-order_id"), "created_at")
    side.look("orders: of a workspace", f"{_ORDERS}?wsid={busy}")


def _add_row_pages(side: Side) -> None:
    """Pages of one row: not in the lists, but what they lead to."""
    busy = side.size.busy
    task = Task.objects.of_workspace(busy).order_by("task_id")[100]
    snapshot = Snapshot.objects.of_workspace(busy).order_by("snapshot_id")[0]
    side.look("page of a task", f"{_TASKS}{task.pk}/change/")
    side.look("page of a workspace", f"{_WORKSPACES}{busy}/change/")
    side.look("page of a snapshot", f"{_SNAPSHOTS}{snapshot.pk}/change/")


def _add_list(side: Side, name: str, url: str, rows: QuerySet[Model], time_column: str | None) -> None:
    """Its first page and a deep one: the five thousandth, or the last with as many rows."""
    before = min((DEEP_PAGE - 1) * _ADMIN_PAGE, rows.count() - _ADMIN_PAGE - 1)
    edge = rows[before - 1]
    cursor = f"{getattr(edge, time_column).isoformat()}~{edge.pk}" if time_column else str(edge.pk)
    side.look(name, url)
    side.look(f"{name}, a deep page", f"{url}?{urlencode({'p': cursor})}")


def _api_cursor(client: Client, total: int) -> str:
    """The cursor of GET /v1/tasks' page 5,000, or of the last full one, reached as clients do: page by page."""
    left = min((DEEP_PAGE - 1) * _API_PAGE, total - _API_PAGE - 1)
    cursor = ""
    while left > 0:
        limit = min(left, _API_MOST)
        query = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        cursor = client.get(f"/v1/tasks?{urlencode(query)}").json()["next_cursor"]
        left -= limit
    return cursor
