"""Lists and pages cost the same number of statements whatever they show, and never count rows (SPEC §9)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tasks.audit import record
from tasks.models import Op, Task
from tasks.states import Status
from tests.admin.people import OPERATORS, Browser, list_of, make_user, page_of
from tests.admin.test_lists import MODELS
from tests.factories import ACTOR, make_snapshot, make_task, make_workspace
from workspaces.models import Order, OrderKind, Workspace
from wvs_project.db import ClockTimestamp

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]


@pytest.fixture
def operator() -> Browser:
    return Browser(make_user(OPERATORS))


@contextmanager
def statements() -> Iterator[list[str]]:
    said: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield said
    said += [query["sql"] for query in captured.captured_queries]


def make_rows(count: int) -> Workspace:
    """So many of everything: half in one workspace, the rest each in its own."""
    workspace = make_workspace()
    for number in range(count):
        of = make_workspace() if number % 2 else workspace
        task = make_task(of, Op.SNAPSHOT_CREATE, status=Status.DEAD)
        make_snapshot(of, created_by=task.task_id)
        record(action="task.dead", wsid=of.wsid, actor=ACTOR, task_id=task.task_id)
        Order.objects.create(
            workspace=of, kind=OrderKind.SWEEP, actor=ACTOR.as_json(), ended_at=ClockTimestamp(), outcome={}
        )
    return workspace


@pytest.mark.parametrize("query", ["", "?q={wsid}", "?wsid={wsid}"])
def test_a_list_of_five_and_of_a_full_page_take_the_same_statements_and_count_nothing(
    operator: Browser, query: str
) -> None:
    workspace = make_rows(5)
    few: dict[str, int] = {}
    for number in (5, 100):
        if number == 100:
            workspace = make_rows(100)
        for model in MODELS:
            if model == "workspaces_workspace" and "?wsid" in query:
                continue
            with statements() as said:
                page = operator.get(list_of(model, query.format(wsid=workspace.wsid)))
            assert len(said) == few.setdefault(model, len(said)), said
            assert not [sql for sql in said if "COUNT(" in sql.upper()], said
            assert number == 5 or query or 'rel="next"' in page


@pytest.mark.parametrize("model", ["tasks_task", "workspaces_workspace", "snapshots_snapshot"])
def test_a_page_takes_the_same_statements_whatever_its_tables_hold(operator: Browser, model: str) -> None:
    counts = []
    for number in (5, 60):
        workspace = make_rows(number)
        task = Task.objects.of_workspace(workspace.wsid)[0]
        for _ in range(number):
            record(action="task.rescue", wsid=workspace.wsid, actor=ACTOR, task_id=task.task_id)
        key = {
            "tasks_task": task.task_id,
            "workspaces_workspace": workspace.wsid,
            "snapshots_snapshot": workspace.snapshots.first().pk,  # type: ignore[union-attr]
        }[model]
        operator.get(page_of(model, key))  # what a process asks once and keeps is asked
        with statements() as said:
            operator.get(page_of(model, key))
        counts.append(len(said))
        assert not [sql for sql in said if "COUNT(" in sql.upper()], said
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "tasks_by_created"),
        ("?wsid={wsid}", "tasks_by_workspace"),
        ("?q={wsid}", "tasks_by_workspace"),
        ("?status__exact=RUNNING", r"tasks_(one_)?running\w*"),
        *(
            (f"?status__exact={status}", f"tasks_list_{status.lower()}")
            for status in Status
            if status != Status.RUNNING
        ),
        *((f"?op__exact={op}", f"tasks_list_{op}") for op in Op),
    ],
)
def test_no_list_of_tasks_reads_the_whole_table(operator: Browser, query: str, index: str) -> None:
    """By the plan, on a table of which PostgreSQL is told that it is large."""
    workspace = make_rows(5)
    with statements() as said:
        operator.get(list_of("tasks_task", query.format(wsid=workspace.wsid)))
    (select,) = (sql for sql in said if 'FROM "tasks"' in sql)
    plan = plan_of(select, may_sort="RUNNING" in query)
    assert re.search(rf"\b{index}\b", plan), plan
    assert "Seq Scan" not in plan


@pytest.mark.parametrize(
    ("query", "index"),
    [("", "snapshots_pkey"), ("?disk=dropped", "snapshots_dropped"), ("?disk=missing", "snapshots_orphaned")],
)
def test_no_list_of_snapshots_reads_the_whole_table(operator: Browser, query: str, index: str) -> None:
    make_rows(5)
    with statements() as said:
        operator.get(list_of("snapshots_snapshot", query))
    (select,) = (sql for sql in said if 'FROM "snapshots"' in sql)
    plan = plan_of(select, may_sort="missing" in query)
    assert re.search(rf"\b{index}\b", plan), plan
    assert "Seq Scan" not in plan


def plan_of(select: str, *, may_sort: bool = False) -> str:
    """By which index PostgreSQL goes where the table is large."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"SET LOCAL enable_sort = {'on' if may_sort else 'off'}")
        cursor.execute(f"EXPLAIN {select}")
        return "\n".join(line for (line,) in cursor.fetchall())
