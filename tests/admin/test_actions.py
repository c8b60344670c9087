"""The admin's actions: asked first, done by POST through the services, audited, refused with the reason (SPEC §9)."""

from __future__ import annotations

import pytest

from tasks.console.actions import AT_MOST, refusal
from tasks.models import AuditEvent, Op, Task
from tasks.states import Status
from tests.admin.people import OPERATORS, Browser, button, form_in, list_of, make_user, page_of
from tests.factories import make_current, make_snapshot, make_task, make_workspace
from workspaces.models import Order, Workspace
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode, WvsError

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]


@pytest.fixture
def operator() -> Browser:
    return Browser(make_user(OPERATORS))


def audited(action: str) -> AuditEvent:
    return AuditEvent.objects.get(action=action)


def test_a_dead_task_is_retried_by_the_operator_and_the_new_one_is_linked(operator: Browser) -> None:
    dead = make_task(make_workspace(), status=Status.DEAD)
    (said,) = operator.press(button("tasks_task", dead.pk, "retry"))
    retry = Task.objects.get(params__retries=dead.pk)
    assert page_of("tasks_task", retry.pk) in said
    assert retry.actor == {"type": "operator", "id": operator.user.username}
    assert audited("task.retry").actor == retry.actor
    assert audited("task.retry").request_id == retry.request_id != ""


def test_the_request_is_the_one_that_the_answer_names(operator: Browser) -> None:
    task = make_task(make_workspace())
    url = button("tasks_task", task.pk, "cancel")
    answer = operator.post(url, form_in(operator.get(url)))
    assert audited("task.cancel").request_id == answer["X-Request-Id"]


@pytest.mark.parametrize(
    ("status", "after", "said"),
    [(Status.PENDING, Status.CANCELED, "is canceled"), (Status.RUNNING, Status.RUNNING, "asked to stop")],
)
def test_a_task_is_canceled_or_asked_to_stop(operator: Browser, status: str, after: str, said: str) -> None:
    task = make_task(make_workspace(), status=status)
    assert said in operator.press(button("tasks_task", task.pk, "cancel"))[0]
    task.refresh_from_db()
    assert (task.status, task.cancel_requested) == (after, True)
    assert audited("task.cancel").actor == {"type": "operator", "id": operator.user.username}


def test_what_cannot_be_canceled_says_why_with_code_message_and_what_blocks(operator: Browser) -> None:
    task = make_task(make_workspace(), status=Status.SUCCEEDED)
    (said,) = operator.press(button("tasks_task", task.pk, "cancel"))
    for part in ("WVS_CONFLICT_LOCKED", "is finished: SUCCEEDED", page_of("tasks_task", task.pk)):
        assert part in said


def test_a_workspace_is_disabled_and_enabled_and_both_are_audited(operator: Browser) -> None:
    wsid = make_workspace().wsid
    for action, state in (("disable", WorkspaceState.DISABLED), ("enable", WorkspaceState.ACTIVE)):
        (said,) = operator.press(button("workspaces_workspace", wsid, action))
        assert state in said
        assert Workspace.objects.get().state == state
        event = audited(f"workspace.{action}")
        assert event.actor == {"type": "operator", "id": operator.user.username}
        assert event.request_id.startswith("req-")


def test_a_refused_disable_names_the_live_task_that_stands_in_the_way(operator: Browser) -> None:
    task = make_task(make_workspace())
    (said,) = operator.press(button("workspaces_workspace", task.workspace_id, "disable"))
    assert "WVS_PRECONDITION_FAILED" in said
    assert page_of("tasks_task", task.pk) in said
    assert Workspace.objects.get().state == WorkspaceState.ACTIVE


def test_a_failed_init_is_retried(operator: Browser) -> None:
    wsid = make_workspace(state=WorkspaceState.INIT_FAILED).wsid
    (said,) = operator.press(button("workspaces_workspace", wsid, "retry-init"))
    assert Task.objects.get().pk in said
    assert Workspace.objects.get().state == WorkspaceState.PROVISIONING
    assert audited("workspace.retry_init").actor["id"] == operator.user.username


@pytest.mark.parametrize(("action", "kind"), [("sweep", "sweep"), ("detach-agent", "detach_agent")])
def test_what_needs_the_volume_becomes_an_order_that_is_linked_and_is_one_if_asked_twice(
    operator: Browser, action: str, kind: str
) -> None:
    wsid = make_workspace().wsid
    url = button("workspaces_workspace", wsid, action)
    assert "scheduler" in operator.get(url)
    for said in operator.press(url) + operator.press(url):
        order = Order.objects.get()
        assert page_of("workspaces_order", order.order_id) in said
        assert "within seconds" in said
    assert (order.kind, order.workspace_id, order.actor["id"]) == (kind, wsid, operator.user.username)
    assert order.request_id.startswith("req-")


def test_a_snapshot_is_dropped_by_a_task(operator: Browser) -> None:
    snapshot = make_snapshot(make_workspace())
    (said,) = operator.press(button("snapshots_snapshot", snapshot.pk, "drop"))
    task = Task.objects.get(op=Op.SNAPSHOT_DROP)
    assert task.snapshot_id == snapshot.pk
    assert page_of("tasks_task", task.pk) in said
    assert audited("workspace.snapshot_drop").actor["id"] == operator.user.username


def test_a_workspace_is_switched_to_a_snapshot(operator: Browser) -> None:
    snapshot = make_snapshot(make_workspace())
    operator.press(button("snapshots_snapshot", snapshot.pk, "set-current"))
    task = Task.objects.get(op=Op.SET_CURRENT)
    assert (task.snapshot_id, task.params["fresh"]) == (snapshot.pk, False)


def test_the_current_snapshot_is_not_dropped_and_the_screen_says_why(operator: Browser) -> None:
    workspace = make_workspace()
    snapshot = make_snapshot(workspace)
    make_current(workspace, snapshot)
    (said,) = operator.press(button("snapshots_snapshot", snapshot.pk, "drop"))
    assert "WVS_CONFLICT_SNAPSHOT_IN_USE" in said
    assert f"current_snapshot_id {snapshot.pk}" in said
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("model", "action"),
    [("snapshots_snapshot", "drop"), ("snapshots_snapshot", "set-current"), ("workspaces_workspace", "retry-init")],
)
def test_a_double_click_makes_one_task_and_says_so(operator: Browser, model: str, action: str) -> None:
    workspace = make_workspace(state=WorkspaceState.INIT_FAILED if action == "retry-init" else WorkspaceState.ACTIVE)
    key = workspace.wsid if action == "retry-init" else make_snapshot(workspace).pk
    url = button(model, key, action)
    form = form_in(operator.get(url))
    first, second = operator.send(url, form), operator.send(url, form)
    assert Task.objects.count() == 1
    assert "asked for before" not in first[0]
    assert "asked for before" in second[0]


def test_the_form_of_another_day_makes_another_task(operator: Browser) -> None:
    snapshot = make_snapshot(make_workspace())
    url = button("snapshots_snapshot", snapshot.pk, "set-current")
    operator.press(url)
    operator.press(url)
    assert Task.objects.count() == 2


def test_to_look_at_the_question_does_nothing(operator: Browser) -> None:
    wsid = make_workspace().wsid
    page = operator.get(button("workspaces_workspace", wsid, "disable"))
    assert "Disable it" in page
    assert wsid in page
    assert Workspace.objects.get().state == WorkspaceState.ACTIVE
    assert not AuditEvent.objects.exists()


def test_without_the_token_of_the_page_nothing_is_done(operator: Browser) -> None:
    url = button("workspaces_workspace", make_workspace().wsid, "disable")
    form = form_in(operator.get(url))
    assert operator.post(url, {**form, "csrfmiddlewaretoken": "x" * 64}).status_code == 403
    assert operator.post(url, {**form, "nonce": ""}).status_code == 400
    assert Workspace.objects.get().state == WorkspaceState.ACTIVE


def test_an_action_of_a_list_asks_for_what_is_selected_and_does_it_once_confirmed(operator: Browser) -> None:
    dead, other, finished = (
        make_task(make_workspace(), status=status) for status in (Status.DEAD, Status.DEAD, Status.SUCCEEDED)
    )
    question = operator.choose("tasks_task", "retry_list", [dead.pk, finished.pk])
    assert question.status_code == 200
    assert Task.objects.count() == 3
    said = operator.send(list_of("tasks_task"), form_in(question.content.decode()))
    assert Task.objects.get(params__retries=dead.pk)
    assert not Task.objects.filter(params__retries=other.pk).exists()
    assert [dead.pk in said[0], "WVS_PRECONDITION_FAILED" in said[1], len(said)] == [True, True, 2]


def test_two_snapshots_of_one_workspace_are_dropped_by_one_form_and_a_second_click_changes_nothing(
    operator: Browser,
) -> None:
    workspace = make_workspace()
    keys = [make_snapshot(workspace).pk for _ in range(2)]
    form = form_in(operator.choose("snapshots_snapshot", "drop_list", keys).content.decode())
    operator.send(list_of("snapshots_snapshot"), form)
    said = operator.send(list_of("snapshots_snapshot"), form)
    assert {task.snapshot_id for task in Task.objects.all()} == set(keys)
    assert Task.objects.count() == 2
    assert all("asked for before" in text for text in said)


@pytest.mark.parametrize(
    ("model", "action", "state"),
    [
        ("workspaces_workspace", "disable_list", WorkspaceState.DISABLED),
        ("workspaces_workspace", "retry_init_list", WorkspaceState.PROVISIONING),
    ],
)
def test_the_list_of_workspaces_has_the_same_actions(operator: Browser, model: str, action: str, state: str) -> None:
    before = WorkspaceState.INIT_FAILED if state == WorkspaceState.PROVISIONING else WorkspaceState.ACTIVE
    chosen, other = make_workspace(state=before), make_workspace(state=before)
    operator.send(list_of(model), form_in(operator.choose(model, action, [chosen.wsid]).content.decode()))
    assert [Workspace.objects.get(pk=row.pk).state for row in (chosen, other)] == [state, before]


def test_every_row_there_is_cannot_be_meant_by_one_press(operator: Browser) -> None:
    chosen, other = make_workspace(), make_workspace()
    form = form_in(operator.choose("workspaces_workspace", "disable_list", [chosen.wsid]).content.decode())
    operator.send(list_of("workspaces_workspace"), {**form, "select_across": "1"})
    assert Workspace.objects.get(pk=other.pk).state == WorkspaceState.ACTIVE
    assert Workspace.objects.get(pk=chosen.pk).state == WorkspaceState.DISABLED
    assert AT_MOST == 100


def test_what_a_refusal_quotes_is_escaped() -> None:
    said = refusal(WvsError(ErrorCode.GONE, "<b>", blockers=[{"message": "<i>", "task_id": "<u>"}]))
    assert said == "WVS_GONE: &lt;b&gt;. In the way: message &lt;i&gt;, task_id &lt;u&gt;."
