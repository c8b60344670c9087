"""The admin as a person sees it: in Chromium, by clicks, without a complaint of the browser (SPEC §9, §10)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from snapshots.days import note_kept
from snapshots.drift import DriftKind
from snapshots.drift_counts import OF_THE_SWEEP, note_drift
from snapshots.models import Snapshot, SnapshotDay
from tasks.engine import Engine
from tasks.models import Op, Task, TaskDay
from tasks.states import Status
from tests.admin.people import OPERATORS, VIEWERS, list_of, page_of
from tests.browser.seen import Seen
from tests.factories import from_now, make_current, make_snapshot, make_task, make_workspace
from workspaces.models import Workspace
from workspaces.states import WorkspaceState

pytestmark = [pytest.mark.browser, pytest.mark.rule("SPEC §9")]

NO_SPACE = {"code": "WVS_EXECUTOR_ERROR", "reason": "NO_SPACE", "message": "no space is left on the volume"}


def a_busy_month() -> tuple[Workspace, Task]:
    """A workspace with a history, and its DEAD task."""
    workspace = make_workspace("agent-research-7", owner="team-research")
    for index in range(34):
        snapshot = make_snapshot(workspace, message=f"checkpoint {index + 1}", entries=780 + index, bytes=2**29)
    make_current(workspace, snapshot)
    done = make_task(workspace, Op.SET_CURRENT, status=Status.SUCCEEDED, snapshot=snapshot)
    Task.objects.filter(pk=done.pk).update(created_at=from_now(-7200), ended_at=from_now(-7199))
    for _ in range(12):
        make_task(workspace, status=Status.SUCCEEDED)
    dead = make_task(workspace, status=Status.DEAD, error=NO_SPACE, attempt=5)
    other = make_workspace("agent-build-12", owner="team-build")
    frozen = make_task(other, status=Status.RUNNING)
    since = (timezone.now() - timedelta(seconds=4)).isoformat()
    Task.objects.filter(pk=frozen.pk).update(progress={"phase": "clone", "frozen_since": since})
    note_drift([DriftKind.STALE_WRITER] * 2, OF_THE_SWEEP)
    make_task(other, Op.SET_CURRENT, snapshot=make_snapshot(other, entries=120, bytes=3 * 2**20))
    make_workspace("agent-old-1", state=WorkspaceState.DISABLED)
    make_workspace("agent-new-1", state=WorkspaceState.INIT_FAILED)
    today = timezone.now().date()
    for ago in range(1, 30):
        day = today - timedelta(days=ago)
        counts = {Status.SUCCEEDED: 40 + (ago * 37) % 29, Status.DEAD: ago % 4, Status.CANCELED: ago % 7}
        for status, count in counts.items():
            if count:
                TaskDay.objects.create(day=day, op=Op.SNAPSHOT_CREATE, status=status, count=count)
        if ago % 3:
            TaskDay.objects.create(day=day, op=Op.SNAPSHOT_DROP, status=Status.SUCCEEDED, count=ago % 3 * 9)
        SnapshotDay.objects.create(
            day=day, snapshots=34 - ago, entries=(34 - ago) * 800 + ago % 5 * 90, bytes=1, taken_at=timezone.now()
        )
    note_kept()
    return workspace, dead


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_whole_in_light_and_dark(seen: Seen, theme: str, screenshots: str | None) -> None:
    workspace, dead = a_busy_month()
    seen.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    seen.log_in(OPERATORS)
    assert seen.is_dark() is (theme == "dark")
    text = seen.text()
    for part in ("Queue depth", "DEAD in the last 7 days", dead.pk, "agent-research-7", "NO_SPACE"):
        assert part in text
    drawn = "() => [...document.querySelectorAll('canvas.chart')].map(one => Chart.getChart(one).data.datasets.length)"
    assert seen.page.evaluate(drawn) == [3, 2, 2]
    seen.shoot(screenshots, f"dashboard-{theme}")
    for name, path in (
        ("task", page_of("tasks_task", dead.pk)),
        ("workspace", page_of("workspaces_workspace", workspace.wsid)),
        ("tasks", list_of("tasks_task")),
    ):
        seen.page.goto(path)
        assert "agent-research-7" in seen.text()
        assert seen.is_dark() is (theme == "dark")
        seen.shoot(screenshots, f"{name}-{theme}")


def test_the_search_the_filters_and_the_theme_answer_to_clicks(seen: Seen) -> None:
    _, dead = a_busy_month()
    seen.log_in(OPERATORS)
    seen.page.goto(list_of("tasks_task"))
    seen.page.get_by_text("Filters").click()
    seen.page.locator("#changelist-filter").get_by_text("DEAD").click()
    seen.page.wait_for_url("**status__exact=DEAD*")
    assert "SUCCEEDED" not in seen.text()
    seen.page.fill("#searchbar", dead.pk)
    seen.page.press("#searchbar", "Enter")
    seen.page.wait_for_url("**q=task-*")
    assert dead.pk in seen.text()
    before = seen.is_dark()
    seen.page.keyboard.press("Control+e")
    seen.page.keyboard.press("Control+e")
    seen.page.wait_for_function(
        f"() => document.documentElement.classList.contains('dark') === {str(not before).lower()}"
    )


def test_the_pages_of_users_and_groups_are_whole(seen: Seen, screenshots: str | None) -> None:
    user = seen.log_in(None, is_superuser=True)
    for path in (list_of("auth_user"), "/admin/auth/user/add/", page_of("auth_user", user.pk), list_of("auth_group")):
        seen.page.goto(path)
        assert "Users" in seen.text() or "Groups" in seen.text()
        seen.shoot(screenshots, path.strip("/").replace("/", "-"))


@pytest.mark.rule("SPEC §10")
def test_a_script_that_somebody_smuggled_into_a_message_is_text(seen: Seen) -> None:
    workspace = make_workspace()
    evil = "<script>document.title = 'evil'</script><img src=x onerror=\"document.title = 'evil'\">"
    snapshot = make_snapshot(workspace, message=evil)
    seen.log_in(VIEWERS)
    seen.page.goto(page_of("snapshots_snapshot", snapshot.pk))
    assert "onerror" in seen.text()
    assert "evil" not in seen.page.title()


@pytest.mark.rule("SPEC §10")
def test_an_inline_script_would_not_run(seen: Seen) -> None:
    seen.log_in(VIEWERS)
    seen.page.evaluate(
        "() => { const one = document.createElement('script'); one.textContent = 'document.title = \"evil\"';"
        " document.body.append(one); }"
    )
    assert seen.page.title() != "evil"
    (refused,) = seen.complaints
    assert "Content Security Policy" in refused
    seen.complaints.clear()


def test_the_page_of_the_api_works_under_the_policy(seen: Seen) -> None:
    seen.page.goto("/v1/docs")
    seen.page.get_by_text("/v1/workspaces/{wsid}/retry-init").wait_for()


def test_a_dead_task_is_found_retried_and_the_new_one_succeeds(seen: Seen, engine: Engine) -> None:
    _, dead = a_busy_month()
    seen.log_in(OPERATORS)
    seen.page.get_by_role("link", name="DEAD, last 7 days").click()
    seen.page.get_by_role("link", name=dead.pk).first.click()
    assert "no space is left on the volume" in seen.text()
    seen.press("Retry")
    retry = Task.objects.get(params__retries=dead.pk)
    seen.page.get_by_role("link", name=retry.pk).first.click()
    assert "PENDING" in seen.text()
    engine.serve(retry.workspace_id)
    seen.page.reload()
    assert "SUCCEEDED" in seen.text()


def test_a_workspace_is_disabled_and_enabled(seen: Seen) -> None:
    wsid = make_workspace().wsid
    seen.log_in(OPERATORS)
    seen.page.goto(page_of("workspaces_workspace", wsid))
    for label, state in (("Disable", WorkspaceState.DISABLED), ("Enable", WorkspaceState.ACTIVE)):
        seen.press(label)
        assert state in seen.text()
        assert Workspace.objects.get(pk=wsid).state == state


def test_enable_that_is_pressed_twice_says_that_it_is_enabled_already(seen: Seen) -> None:
    wsid = make_workspace(state=WorkspaceState.DISABLED).wsid
    seen.log_in(OPERATORS)
    seen.page.goto(page_of("workspaces_workspace", wsid))
    seen.buttons("Enable").click()
    Workspace.objects.get(pk=wsid).enable()
    seen.page.get_by_role("button", name="Yes: Enable").click()
    seen.page.get_by_text("is enabled already, and ACTIVE: nothing was to be done").wait_for()
    assert not seen.buttons("Enable").count()


def test_what_is_refused_says_why(seen: Seen) -> None:
    task = make_task(make_workspace())
    seen.log_in(OPERATORS)
    seen.page.goto(page_of("workspaces_workspace", task.workspace_id))
    seen.press("Disable")
    assert "WVS_PRECONDITION_FAILED" in seen.text()
    assert task.pk in seen.text()
    assert Workspace.objects.get().state == WorkspaceState.ACTIVE


def test_a_viewer_has_nothing_to_press(seen: Seen) -> None:
    _, dead = a_busy_month()
    seen.log_in(VIEWERS)
    workspace = page_of("workspaces_workspace", dead.workspace_id)
    snapshot = page_of("snapshots_snapshot", Snapshot.objects.filter(workspace=dead.workspace_id).earliest("pk").pk)
    for path in (page_of("tasks_task", dead.pk), workspace, snapshot):
        seen.page.goto(path)
        assert dead.workspace_id in seen.text()
        for label in ("Retry", "Cancel", "Disable", "Enable", "Detach agent", "Sweep", "Drop", "Switch to it"):
            assert not seen.buttons(label).count(), label
    token = seen.page.locator("input[name=csrfmiddlewaretoken]").first.input_value()
    form: dict[str, str | float | bool] = {"csrfmiddlewaretoken": token, "nonce": "n" * 24, "confirmed": "yes"}
    for of, action in ((page_of("tasks_task", dead.pk), "retry"), (workspace, "disable"), (workspace, "sweep")):
        url = of.replace("/change/", f"/{action}/")
        assert seen.page.request.get(url).status == 403, action
        answer = seen.page.request.post(url, form=form, headers={"Referer": seen.page.url})
        assert (answer.status, "CSRF" in answer.text()) == (403, False), action
    assert not Task.objects.filter(params__retries=dead.pk).exists()
    assert Workspace.objects.get(pk=dead.workspace_id).state == WorkspaceState.ACTIVE
