"""The admin's lists: newest first, searched and filtered by what an index finds, linked with each other (SPEC §9)."""

from __future__ import annotations

import re

import pytest

from tasks.audit import record
from tasks.console.readonly import ReadOnlyAdmin
from tasks.models import AuditEvent, Op
from tasks.states import Status
from tests.admin.people import VIEWERS, Browser, list_of, make_user, page_of
from tests.factories import ACTOR, from_now, make_snapshot, make_task, make_workspace, new_wsid
from workspaces.models import Order, OrderKind

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §9")]

MODELS = ("tasks_task", "tasks_auditevent", "workspaces_workspace", "workspaces_order", "snapshots_snapshot")


@pytest.fixture
def viewer() -> Browser:
    return Browser(make_user(VIEWERS))


def ids_in(page: str, pattern: str = "task") -> list[str]:
    """The ids in the first column of a list, in its order."""
    return re.findall(rf"<th[^>]*>\s*<a[^>]*>(?:<span[^>]*>)?({pattern}[^<]*)<", page)


def test_the_newest_task_comes_first_and_leads_to_its_page_and_its_workspace(viewer: Browser) -> None:
    workspace = make_workspace()
    old = make_task(workspace, created_at=from_now(-60))
    new = make_task(workspace)
    page = viewer.get(list_of("tasks_task"))
    assert ids_in(page) == [new.task_id, old.task_id]
    assert page_of("tasks_task", new.task_id) in page
    assert page_of("workspaces_workspace", workspace.wsid) in page


def test_the_head_of_a_list_takes_one_page_for_no_total(viewer: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadOnlyAdmin, "list_per_page", 2)
    for _ in range(3):
        make_task(make_workspace())
    page = viewer.get(list_of("tasks_task", "?op__exact=snapshot_create"))
    assert len(ids_in(page)) == 2
    assert not re.search("[0-9] results?", page)


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_list_is_a_page_too(viewer: Browser, model: str) -> None:
    viewer.get(list_of(model))
    viewer.get(list_of(model, "?q=nobody"))


def test_a_task_is_found_by_its_id_by_its_beginning_and_by_its_workspace(viewer: Browser) -> None:
    ours, theirs = make_workspace(), make_workspace()
    task, other = make_task(ours), make_task(theirs)
    assert ids_in(viewer.get(list_of("tasks_task", f"?q={task.task_id}"))) == [task.task_id]
    assert ids_in(viewer.get(list_of("tasks_task", f"?q={theirs.wsid}"))) == [other.task_id]
    begun_so = ids_in(viewer.get(list_of("tasks_task", f"?q={other.task_id[:-4]}")))
    assert other.task_id in begun_so
    # What begins within an id, or is a part of one, is not sought: no index finds it.
    assert ids_in(viewer.get(list_of("tasks_task", f"?q={task.task_id[5:]}"))) == []


@pytest.mark.parametrize(
    "query",
    ["?status__exact=DEAD", "?op__exact=init_workspace", "?wsid={wsid}", "?wsid={wsid}&snapshot_id={snapshot}"],
)
def test_tasks_are_filtered(viewer: Browser, query: str) -> None:
    workspace = make_workspace()
    if "init" in query:
        wanted = make_task(workspace, Op.INIT_WORKSPACE, status=Status.DEAD)
    else:
        wanted = make_task(workspace, status=Status.DEAD)
    make_task(make_workspace(), Op.SET_CURRENT, status=Status.SUCCEEDED)
    page = viewer.get(list_of("tasks_task", query.format(wsid=workspace.wsid, snapshot=wanted.snapshot_id)))
    assert ids_in(page) == [wanted.task_id]


def test_audit_events_are_found_by_task_action_and_workspace(viewer: Browser) -> None:
    wsid, task_id = new_wsid(), make_task(make_workspace()).task_id
    for action, of in (("workspace.disable", None), ("task.cancel", task_id)):
        record(action=action, wsid=wsid, actor=ACTOR, task_id=of)
    record(action="workspace.enable", wsid=new_wsid(), actor=ACTOR)
    by_action = {event.action: str(event.event_id) for event in AuditEvent.objects.all()}

    def found(query: str) -> list[str]:
        return ids_in(viewer.get(list_of("tasks_auditevent", query)), "[0-9]")

    assert found("") == [by_action[name] for name in ("workspace.enable", "task.cancel", "workspace.disable")]
    assert found(f"?q={wsid}") == found(f"?wsid={wsid}") == [by_action["task.cancel"], by_action["workspace.disable"]]
    assert found(f"?q={task_id}") == found(f"?task_id={task_id}") == [by_action["task.cancel"]]
    assert found("?q=workspace.enable") == found("?action=workspace.enable") == [by_action["workspace.enable"]]
    assert found(f"?q={by_action['task.cancel']}") == [by_action["task.cancel"]]


def test_workspaces_are_found_by_the_beginning_of_their_id_or_by_their_owner(viewer: Browser) -> None:
    one, two = make_workspace("red-one", owner="ann"), make_workspace("red-two", owner="bob", state="DISABLED")
    make_workspace("blue-one", owner="cid")

    def found(query: str) -> list[str]:
        return ids_in(viewer.get(list_of("workspaces_workspace", query)), "[a-z]")

    assert found("?q=red-") == [two.wsid, one.wsid]
    assert found("?q=bob") == found("?owner=bob") == found("?state__exact=DISABLED") == [two.wsid]
    assert found("?q=one") == []


def test_snapshots_are_found_by_id_and_workspace_and_filtered_by_what_became_of_them(viewer: Browser) -> None:
    workspace = make_workspace()
    kept, dropped = make_snapshot(workspace), make_snapshot(workspace, dropped=True)
    missing = make_snapshot(make_workspace(), orphaned_at=from_now(0))

    def found(query: str) -> list[str]:
        return ids_in(viewer.get(list_of("snapshots_snapshot", query)), "snap")

    assert found("") == [missing.pk, dropped.pk, kept.pk]
    assert found(f"?q={workspace.wsid}") == found(f"?wsid={workspace.wsid}") == [dropped.pk, kept.pk]
    assert found(f"?q={kept.pk}") == [kept.pk]
    assert found("?disk=dropped") == [dropped.pk]
    assert found("?disk=missing") == [missing.pk]
    assert found("?disk=kept") == [missing.pk, kept.pk]


def test_orders_show_who_asked_and_whether_they_are_done(viewer: Browser) -> None:
    workspace = make_workspace()
    order = Order.objects.create(workspace=workspace, kind=OrderKind.SWEEP, actor={"type": "operator", "id": "ann"})
    page = viewer.get(list_of("workspaces_order", f"?wsid={workspace.wsid}"))
    assert ids_in(page, "[0-9]") == [str(order.order_id)]
    assert "operator ann" in page
    assert "open" in page


@pytest.mark.parametrize("ties", [False, True])
def test_every_task_is_on_one_page_and_one_only_whatever_comes_meanwhile(
    viewer: Browser, monkeypatch: pytest.MonkeyPatch, ties: bool
) -> None:
    monkeypatch.setattr(ReadOnlyAdmin, "list_per_page", 3)
    workspace = make_workspace()
    at = make_task(workspace).created_at
    made = [make_task(workspace, created_at=at if ties else from_now(0)).task_id for _ in range(7)]
    seen: list[str] = []
    url = list_of("tasks_task", f"?wsid={workspace.wsid}")
    while True:
        page = viewer.get(url)
        seen += ids_in(page)
        make_task(workspace)
        older = re.search(r'<a href="([^"]+)" rel="next"', page)
        if older is None:
            break
        assert f"wsid={workspace.wsid}" in older[1]
        url = list_of("tasks_task", older[1].replace("&amp;", "&"))
    assert len(seen) == 8
    assert set(made) < set(seen)
    assert "Newest" in page


@pytest.mark.parametrize(
    "query",
    ["?p=nonsense", "?p=2026-01-01T00:00:00~task-x", "?p=~", "?p=9999~%00", "?wsid=%00", "?status__exact=%00"],
)
def test_a_page_that_cannot_be_is_said_to_be_none_and_breaks_nothing(viewer: Browser, query: str) -> None:
    assert "e=1" in viewer.client.get(list_of("tasks_task", query)).url  # type: ignore[attr-defined]
    viewer.get(list_of("tasks_task", "?e=1"))


@pytest.mark.parametrize("query", ["?request_id=x", "?params__x__icontains=y", "?workspace__owner__contains=z"])
def test_a_column_that_no_filter_offers_cannot_be_asked_for(viewer: Browser, query: str) -> None:
    make_task(make_workspace())
    assert viewer.client.get(list_of("tasks_task", query)).status_code in (302, 400)
