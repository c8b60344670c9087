"""The first page of the admin: what it tells, what it asks, and who gets to see it (SPEC §9)."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from snapshots.console import figures as figures_module
from snapshots.console.dashboard import at_least, number, size
from snapshots.console.figures import read_figures
from snapshots.days import note_kept
from snapshots.drift import DriftKind
from snapshots.drift_counts import OF_THE_INSPECTION, OF_THE_SWEEP, note_drift
from snapshots.models import Snapshot
from tasks.days import count_days
from tasks.models import Op, Task
from tasks.states import Status
from tests.admin.people import VIEWERS, Browser, make_user
from tests.factories import from_now, make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from workspaces.states import WorkspaceState

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]

MOST_STATEMENTS = 21
MAY_BE_READ_WHOLE = {
    *("tasks_list_pending", "tasks_list_failed", "tasks_running", "tasks_one_running_per_workspace"),
    "tasks_list_dead",  # as good as tasks_dead_by_end on an empty table; test_days holds that it can be entered
}


@pytest.fixture
def viewer() -> Browser:
    return Browser(make_user(VIEWERS))


def cards_of(page: str) -> dict[str, tuple[str, str, str]]:
    """Title → (value, note, address)."""
    cards = page.partition('id="cards"')[2].partition('id="charts"')[0]
    found = re.findall(
        r'<a href="([^"]+)".*?<span[^>]*>(.*?)</span>.*?>(.*?)</span>.*?>(.*?)&nbsp;</span>', cards, re.S
    )
    return {title: (value, note, html.unescape(url)) for url, title, value, note in found}


def charts_of(page: str) -> dict[str, dict[str, list[Any]]]:
    """Title → label → values."""
    found = re.findall(r'aria-label="([^"]+)" data-type="\w+" data-value="([^"]+)"', page)
    parsed = {html.unescape(title): json.loads(html.unescape(data)) for title, data in found}
    return {title: {one["label"]: one["data"] for one in data["datasets"]} for title, data in parsed.items()}


def some_of_everything() -> Workspace:
    workspace = make_workspace()
    make_task(workspace, status=Status.RUNNING)
    make_task(workspace, created_at=from_now(-400))
    make_task(workspace, status=Status.FAILED, next_run_at=from_now(300))
    for _ in range(2):
        make_task(
            workspace, Op.SET_CURRENT, status=Status.DEAD, error={"code": "WVS_EXECUTOR_ERROR", "reason": "DRIFT"}
        )
    make_task(workspace, status=Status.SUCCEEDED)
    make_snapshot(workspace, entries=1234, bytes=2048)
    orphaned = make_snapshot(workspace, entries=1, bytes=1)
    Snapshot.objects.filter(pk=orphaned.pk).mark_orphaned()
    make_workspace(state=WorkspaceState.DISABLED)
    make_workspace(state=WorkspaceState.INIT_FAILED)
    note_kept()
    return workspace


def test_the_cards_tell_what_is_so(viewer: Browser) -> None:
    some_of_everything()
    cards = cards_of(viewer.get("/admin/"))
    told = {title: (value, note) for title, (value, note, _) in cards.items()}
    assert int(told.pop("Oldest waiting")[0].split()[0]) >= 400
    assert told == {
        "Running": ("1", "tasks"),
        "Queue depth": ("1", "due; 1 wait for their time"),
        "DEAD, last 7 days": ("2", "tasks"),
        "Active workspaces": ("1", "1 disabled, 1 failed to initialise"),
        "Agents standing still": ("0", "no agent did on the last day"),
        "Snapshots kept": ("2", f"{number(1235)} entries, 2.0 KiB"),
        "Drift": ("\N{EN DASH}", "differences; 1 rows marked missing"),
    }


def test_an_agent_that_stands_still_is_named_and_since_when(viewer: Browser) -> None:
    statuses = (Status.RUNNING, Status.RUNNING, Status.SUCCEEDED)
    frozen, moving, over = (make_task(make_workspace(), status=status) for status in statuses)
    since = datetime.now(UTC) - timedelta(seconds=75)
    told = {"phase": "clone", "entries_done": 1, "entries_total": None, "frozen_since": since.isoformat()}
    Task.objects.filter(pk__in=[frozen.pk, over.pk]).update(progress=told)
    Task.objects.filter(pk=moving.pk).update(progress={"phase": "precopy"})
    page = viewer.get("/admin/")
    assert cards_of(page)["Agents standing still"][0] == "1"
    table = page.partition("Agents that stand still now")[2].partition("</section>")[0]
    assert frozen.workspace_id in table
    assert f"{since:%Y-%m-%d %H:%M:%S}" in table
    assert moving.workspace_id not in table
    assert over.workspace_id not in table


def test_how_long_agents_stood_still_on_the_last_day(viewer: Browser) -> None:
    for seconds, ago in ((0.25, 60), (2.5, 3600), (60.0, 90_000), (None, 60)):
        task = make_task(make_workspace(), status=Status.SUCCEEDED)
        agent = {"attached": seconds is not None, "freeze_seconds": seconds or 0.0}
        at = from_now(-ago)
        Task.objects.filter(pk=task.pk).update(created_at=at, ended_at=at, result={"agent": agent})
    assert cards_of(viewer.get("/admin/"))["Agents standing still"][1] == "last day: 2, the longest 2.5 s"


def test_the_last_look_for_drift_is_told_by_kind_with_what_to_do(viewer: Browser) -> None:
    assert "nobody has looked yet" in viewer.get("/admin/")
    note_drift([DriftKind.POINTER] * 3, OF_THE_INSPECTION)
    note_drift([DriftKind.STALE_WRITER], OF_THE_SWEEP)
    page = viewer.get("/admin/")
    assert cards_of(page)["Drift"][:2] == ("4", "differences; 0 rows marked missing")
    assert "manage.py wvs_index" in page
    assert re.search(r"pointer</td><td[^>]*>3</td>", page)
    note_drift([], OF_THE_INSPECTION)
    assert cards_of(viewer.get("/admin/"))["Drift"][0] == "1"


def test_every_card_leads_to_a_list_that_takes_its_filter(viewer: Browser) -> None:
    some_of_everything()
    for title, (_, _, url) in cards_of(viewer.get("/admin/")).items():
        assert "e=1" not in url
        assert viewer.client.get(url).status_code == 200, title


def test_the_charts_tell_of_today_and_of_days_whose_tasks_are_gone(viewer: Browser) -> None:
    workspace = some_of_everything()
    then = make_task(workspace, Op.SNAPSHOT_DROP, status=Status.SUCCEEDED)
    at = datetime.now(UTC) - timedelta(days=10)
    Task.objects.filter(pk=then.pk).update(created_at=at, ended_at=at)
    count_days()
    then.delete()
    charts = charts_of(viewer.get("/admin/"))
    tasks = charts["Tasks by the day they ended"]
    assert (tasks["DEAD"][-1], tasks["SUCCEEDED"][-1], tasks["SUCCEEDED"][-11]) == (2, 1, 1)
    snapshots = charts["Snapshots made and dropped"]
    assert (snapshots["made"][-1], snapshots["dropped"][-11]) == (1, -1)
    kept = charts["Snapshots kept, and their entries (right)"]
    assert (kept["snapshots"][-1], kept["entries"][-1], kept["snapshots"][0]) == (2, 1235, None)


def test_the_tables_name_the_dead_and_those_that_wait_oldest_first(viewer: Browser) -> None:
    workspace = some_of_everything()
    page = viewer.get("/admin/")
    for task in Task.objects.exclude(status__in=(Status.RUNNING, Status.SUCCEEDED)):
        assert f"/admin/tasks/task/{task.pk}/change/" in page
    assert "DRIFT" in page
    waiting = [task.pk for task in Task.objects.waiting().order_by("created_at")]
    assert [task.pk for task in read_figures().oldest_waiting] == waiting
    assert workspace.wsid in page


def test_all_that_the_page_needs_comes_from_us(viewer: Browser) -> None:
    needed = re.findall(r'(?:src|href)="(/static/[^"]+)"', page := viewer.get("/admin/"))
    assert any(path.endswith("/icon.svg") for path in needed)
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    for path in needed:
        answer = viewer.client.get(path)
        assert (answer.status_code, bool(answer.getvalue())) == (200, True), path


def test_who_may_not_see_the_rows_gets_no_figures() -> None:
    workspace = some_of_everything()
    page = Browser(make_user()).get("/admin/")
    assert 'id="cards"' not in page
    assert workspace.wsid not in page


def test_nothing_at_all_is_a_dashboard_too(viewer: Browser) -> None:
    assert cards_of(viewer.get("/admin/"))["Oldest waiting"][0] == "0 s"


def test_it_takes_the_same_few_statements_however_much_there_is(viewer: Browser) -> None:
    viewer.get("/admin/")
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as asked:
            viewer.get("/admin/")
        counts.append(len(asked))
        for _ in range(12):
            make_task(make_workspace(), status=Status.DEAD)
            make_task(make_workspace())
    assert counts[0] == counts[1]
    with CaptureQueriesContext(connection) as asked:
        figures = read_figures()
    assert len(asked) <= MOST_STATEMENTS
    assert (len(figures.last_dead), len(figures.oldest_waiting)) == (10, 10)


def test_no_statement_of_it_reads_all_tasks_or_snapshots(viewer: Browser) -> None:
    with CaptureQueriesContext(connection) as asked:
        read_figures()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in asked.captured_queries:
            cursor.execute("EXPLAIN " + query["sql"])
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert not re.search(r"Seq Scan on (tasks|snapshots)\b", plan), f"{query['sql']}\n{plan}"
            # Nor all of an index: it is entered somewhere, or what it holds is to be counted.
            for index, below in re.findall(r"Scan (?:using|on) (tasks_\w+)[^\n]*\n([^\n]*)", plan):
                assert "Index Cond" in below or index in MAY_BE_READ_WHOLE, f"{query['sql']}\n{plan}"


def test_those_that_wait_for_longest_are_not_sought_behind_all_that_finished(viewer: Browser) -> None:
    with CaptureQueriesContext(connection) as asked:
        read_figures()
    (sought,) = (sql for query in asked.captured_queries if "PENDING" in (sql := query["sql"]) and "LIMIT" in sql)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
        cursor.execute("EXPLAIN " + sought)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    indexes = set(re.findall(r"Scan (?:Backward )?using (\w+)", plan))
    assert indexes == {"tasks_list_pending", "tasks_list_failed"}, plan


def test_what_there_may_be_any_number_of_is_counted_so_far_and_no_further(
    viewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures_module, "COUNTED_TO", 1)
    some_of_everything()
    make_task(make_workspace(), status=Status.DEAD)
    assert read_figures().dead == 2
    assert at_least(1001) == f"more than {number(1000)}"
    assert at_least(1000) == number(1000)


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB"), (2**60, "1024.0 PiB")],
)
def test_bytes_are_told_as_people_read_them(count: int, told: str) -> None:
    assert size(count) == told
