"""The pages that are looked at: a task's, a workspace's, a snapshot's, an event's, an order's (SPEC §9)."""

from __future__ import annotations

import html
import re

import pytest

from tasks.audit import record
from tasks.models import AuditEvent, Op
from tasks.services import retry_dead_task
from tasks.states import Status
from tests.admin.people import VIEWERS, Browser, list_of, make_user, page_of
from tests.factories import ACTOR, from_now, make_current, make_snapshot, make_task, make_workspace
from workspaces.models import Order, OrderKind

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]

FAILURE = {"code": "WVS_EXECUTOR_ERROR", "reason": "CLONE_FAILED", "message": "the disk said <no>", "attempt": 5}


@pytest.fixture
def viewer() -> Browser:
    return Browser(make_user(VIEWERS))


def test_a_tasks_page_tells_its_timeline_in_order_its_failure_and_its_events(viewer: Browser) -> None:
    task = make_task(
        make_workspace(),
        status=Status.DEAD,
        error=FAILURE,
        created_at=from_now(-30),
        started_at=from_now(-20),
        params={"message": "<b>bold</b>"},
    )
    for action in ("workspace.snapshot_create", "task.dead"):
        record(action=action, wsid=task.workspace_id, actor=ACTOR, task_id=task.task_id, error=FAILURE)
    page = viewer.get(page_of("tasks_task", task.task_id))
    told = page[page.index(">Timeline") : page.rindex(">Audit events")]
    places = [
        told.index(word) for word in ("created", "attempt 1 started", "ended DEAD", "snapshot_create", "task.dead")
    ]
    assert places == sorted(places)
    for word in ("CLONE_FAILED", "WVS_EXECUTOR_ERROR", task.request_id, task.snapshot_id):
        assert word in page
    assert "the disk said &lt;no&gt;" in page
    assert "<b>bold</b>" not in page
    assert '"message": "<b>bold</b>"' in html.unescape(page)
    for event in AuditEvent.objects.filter(task_id=task.task_id):
        assert page_of("tasks_auditevent", event.event_id) in page
    assert html.escape(list_of("tasks_auditevent", f"?task_id={task.task_id}")) in page


def test_a_retry_and_what_it_retries_lead_to_each_other(viewer: Browser) -> None:
    dead = make_task(make_workspace(), status=Status.DEAD)
    retry = retry_dead_task(task_id=dead.task_id, actor=ACTOR).task
    assert page_of("tasks_task", retry.task_id) in viewer.get(page_of("tasks_task", dead.task_id))
    assert page_of("tasks_task", dead.task_id) in viewer.get(page_of("tasks_task", retry.task_id))


def test_a_running_task_shows_how_far_it_is(viewer: Browser) -> None:
    progress = {"phase": "clone", "entries_done": 250, "entries_total": 1000}
    task = make_task(make_workspace(), status=Status.RUNNING, progress=progress)
    page = viewer.get(page_of("tasks_task", task.task_id))
    assert '<progress value="250" max="1000">' in page
    assert "clone: 250 of 1000 entries" in page


def test_the_result_of_a_task_can_be_read(viewer: Browser) -> None:
    task = make_task(make_workspace(), status=Status.SUCCEEDED, result={"entries": 3, "warnings": ["<slow>"]})
    page = viewer.get(page_of("tasks_task", task.task_id))
    assert '"entries": 3' in html.unescape(page)
    assert "<slow>" not in page


def test_a_workspaces_page_tells_what_goes_on_what_to_go_back_to_and_what_was_asked(viewer: Browser) -> None:
    workspace = make_workspace()
    snapshot, dropped = make_snapshot(workspace), make_snapshot(workspace, dropped=True)
    make_current(workspace, snapshot)
    live, done = make_task(workspace), make_task(workspace, status=Status.SUCCEEDED)
    order = Order.objects.create(
        workspace=workspace,
        kind=OrderKind.DETACH_AGENT,
        actor=ACTOR.as_json(),
        ended_at=from_now(0),
        outcome={"outcome": "detached", "agent_id": "agent-7"},
    )
    page = viewer.get(page_of("workspaces_workspace", workspace.wsid))
    live_part = page[page.index(">Live tasks") : page.index(">Last tasks")]
    assert page_of("tasks_task", live.task_id) in live_part
    assert page_of("tasks_task", done.task_id) not in live_part
    assert page_of("tasks_task", done.task_id) in page
    assert page_of("snapshots_snapshot", snapshot.pk) in page
    assert page_of("snapshots_snapshot", dropped.pk) not in page
    assert page_of("workspaces_order", order.order_id) in page
    assert "detached" in page
    assert str(workspace.current_path) in page
    assert "agent-7" in viewer.get(page_of("workspaces_order", order.order_id))


def test_the_head_of_a_page_names_the_row_by_its_id_as_it_is(viewer: Browser) -> None:
    workspace = make_workspace()
    assert re.search(
        rf">\s*Workspace {workspace.wsid}\s*<", viewer.get(page_of("workspaces_workspace", workspace.wsid))
    )


def test_a_snapshots_page_says_whether_it_is_current_and_names_its_tasks(viewer: Browser) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    switch = make_task(workspace, Op.SET_CURRENT, snapshot=snapshot)
    page = viewer.get(page_of("snapshots_snapshot", snapshot.pk))
    assert page_of("tasks_task", switch.task_id) in page
    assert page_of("tasks_task", snapshot.created_by) in page
    assert page_of("workspaces_workspace", workspace.wsid) in page


def test_what_went_with_its_workspaces_trees_was_dropped_by_no_task(viewer: Browser) -> None:
    snapshot = make_snapshot(make_workspace(), deleted_at=from_now(0), deleted_by="purge-disabled")
    page = viewer.get(page_of("snapshots_snapshot", snapshot.pk))
    assert "purge-disabled" in page
    assert page_of("tasks_task", "purge-disabled") not in page


def test_an_events_page_shows_what_changed_and_leads_to_its_task(viewer: Browser) -> None:
    task = make_task(make_workspace())
    record(action="task.cancel", wsid=task.workspace_id, actor=ACTOR, task_id=task.task_id, before={"status": "<P>"})
    page = viewer.get(page_of("tasks_auditevent", AuditEvent.objects.get().event_id))
    assert page_of("tasks_task", task.task_id) in page
    assert '"status": "<P>"' in html.unescape(page)
    assert "<P>" not in page


@pytest.mark.parametrize("model", ["tasks_task", "tasks_auditevent", "snapshots_snapshot", "workspaces_workspace"])
def test_what_is_not_there_leads_back_and_says_so(viewer: Browser, model: str) -> None:
    answer = viewer.client.get(page_of(model, "12345"))
    assert answer.status_code == 302
    assert "exist" in viewer.get(answer.url)  # type: ignore[attr-defined]
