"""A viewer sees everything and is offered and granted no action; an operator acts; nobody edits by hand (SPEC §9)."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group

from tasks.console.actions import OperableAdmin
from tasks.models import Task
from tasks.states import Status
from tests.admin.people import OPERATORS, VIEWERS, Browser, button, list_of, make_user, page_of
from tests.admin.test_lists import MODELS
from tests.factories import make_snapshot, make_task, make_workspace
from workspaces.models import Order, OrderKind, Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]


def operable() -> list[tuple[str, str]]:
    """Every action of every page."""
    found = []
    for model, shown in admin.site._registry.items():
        if isinstance(shown, OperableAdmin):
            name = f"{model._meta.app_label}_{model._meta.model_name}"
            found += [(name, getattr(shown, action).url_path) for action in shown.actions_detail]
    return found


def rows() -> dict[str, object]:
    """One row of each model."""
    workspace = make_workspace()
    return {
        "tasks_task": make_task(workspace, status=Status.DEAD).task_id,
        "workspaces_workspace": workspace.wsid,
        "snapshots_snapshot": make_snapshot(workspace).snapshot_id,
        "workspaces_order": Order.objects.create(workspace=workspace, kind=OrderKind.SWEEP, actor={}).order_id,
    }


def test_there_are_actions_to_refuse() -> None:
    assert {name for _, name in operable()} == {
        "retry", "cancel", "retry-init", "disable", "enable", "detach-agent", "sweep", "drop", "set-current",
    }  # fmt: skip


def test_who_is_not_logged_in_is_sent_to_the_login() -> None:
    answer = Browser(make_user()).client
    answer.logout()
    assert "/admin/login/" in answer.get(list_of("tasks_task")).url  # type: ignore[attr-defined]


def test_staff_without_a_group_sees_nothing() -> None:
    nobody = Browser(make_user())
    for model, key in rows().items():
        nobody.get(list_of(model), expect=403)
        nobody.get(page_of(model, key), expect=403)


def test_a_viewer_sees_every_list_and_page_and_no_button() -> None:
    viewer, made = Browser(make_user(VIEWERS)), rows()
    for model in MODELS:
        assert 'name="action"' not in viewer.get(list_of(model))
    for model, key in made.items():
        page = viewer.get(page_of(model, key))
        assert [action for of, action in operable() if of == model and button(model, key, action) in page] == []


def test_a_viewer_is_refused_every_action_whatever_is_sent() -> None:
    viewer, made = Browser(make_user(VIEWERS)), rows()
    viewer.client.handler.enforce_csrf_checks = False
    for model, action in operable():
        url = button(model, made[model], action)
        assert viewer.client.get(url).status_code == 403, url
        assert viewer.post(url, {"nonce": "n" * 24, "confirmed": "yes"}).status_code == 403, url
    for action in ("retry_list", "cancel_list"):
        form = {"action": action, "_selected_action": [str(made["tasks_task"])], "nonce": "n" * 24, "confirmed": "yes"}
        viewer.post(list_of("tasks_task"), form)
    viewer.post(
        list_of("workspaces_workspace"),
        {"action": "disable_list", "_selected_action": [str(made["workspaces_workspace"])], "nonce": "n" * 24},
    )
    assert Task.objects.count() == 1
    assert Workspace.objects.get().state == "ACTIVE"
    assert Order.objects.count() == 1


def test_who_may_operate_tasks_alone_may_not_disable_a_workspace() -> None:
    user = make_user(OPERATORS)
    group = Group.objects.get(name=OPERATORS)
    group.permissions.remove(*group.permissions.filter(codename="operate_workspace"))
    url = button("workspaces_workspace", make_workspace().wsid, "disable")
    assert Browser(user).client.get(url).status_code == 403


@pytest.mark.parametrize("superuser", [False, True])
def test_an_operator_and_a_superuser_are_offered_what_fits_the_row(superuser: bool) -> None:
    user = make_user(None, is_superuser=True) if superuser else make_user(OPERATORS)
    made = rows()
    page = Browser(user).get(page_of("tasks_task", made["tasks_task"]))
    assert button("tasks_task", made["tasks_task"], "retry") in page
    assert button("tasks_task", made["tasks_task"], "cancel") not in page
    assert 'value="retry_list"' in Browser(user).get(list_of("tasks_task"))


@pytest.mark.parametrize("model", ["tasks_task", "workspaces_workspace", "snapshots_snapshot", "workspaces_order"])
def test_not_even_a_superuser_adds_changes_or_deletes_by_hand(model: str) -> None:
    root, key = Browser(make_user(None, is_superuser=True)), rows()[model]
    root.client.handler.enforce_csrf_checks = False
    assert root.post(page_of(model, key), {"owner": "me", "_save": "Save"}).status_code == 403
    for url in (list_of(model) + "add/", page_of(model, key).removesuffix("change/") + "delete/"):
        assert root.client.get(url).status_code == 403
        assert root.post(url, {"post": "yes"}).status_code == 403
    assert 'name="_save"' not in root.get(page_of(model, key))
    assert "delete_selected" not in root.get(list_of(model))


def test_the_groups_are_made_by_a_migration_and_hold_what_they_are_named_for() -> None:
    make_user(VIEWERS)
    views = {"view_task", "view_auditevent", "view_workspace", "view_order", "view_snapshot"}
    acts = {"operate_task", "operate_workspace", "operate_snapshot"}
    held = {
        group.name: set(group.permissions.values_list("codename", flat=True))
        for group in Group.objects.filter(name__in=[VIEWERS, OPERATORS])
    }
    assert held == {VIEWERS: views, OPERATORS: views | acts}
