"""What operators can do with a workspace in the admin: each asks first, and calls one service."""

from __future__ import annotations

from functools import partial
from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.enums import ActionVariant

from tasks.console.actions import Asked, ConsoleAction, task_made
from tasks.console.shown import order_link, workspace_link
from workspaces.models import OrderKind, Workspace
from workspaces.orders import place_order
from workspaces.services import disable_workspace, enable_workspace, retry_init
from workspaces.states import WorkspaceState
from wvs_project.errors import ErrorCode, WvsError

_BY_THE_SCHEDULER: Final = "The scheduler, which reaches the volume, does it within seconds: follow the order."


def _retry_init(workspace: Workspace, asked: Asked) -> SafeString:
    token = asked.token("retry-init", workspace.wsid)
    write = retry_init(wsid=workspace.wsid, token=token, actor=asked.actor)
    return task_made(write, f"{workspace.wsid} is initialised again by a new task")


def _disable(workspace: Workspace, asked: Asked) -> SafeString:
    disable_workspace(wsid=workspace.wsid, actor=asked.actor, request_id=asked.request_id)
    return format_html("{} is DISABLED", workspace_link(workspace.wsid))


def _enable(workspace: Workspace, asked: Asked) -> SafeString:
    try:
        enabled = enable_workspace(wsid=workspace.wsid, actor=asked.actor, request_id=asked.request_id)
    except WvsError as error:
        if error.code is not ErrorCode.PRECONDITION_FAILED:
            raise
        # A second press, or a second operator: what was asked for is so. Disable is repeatable too.
        workspace.refresh_from_db()
        link = workspace_link(workspace.wsid)
        return format_html("{} is enabled already, and {}: nothing was to be done", link, workspace.state)
    return format_html("{} is {} again", workspace_link(workspace.wsid), enabled.state)


def _place(kind: OrderKind, workspace: Workspace, asked: Asked) -> SafeString:
    order = place_order(wsid=workspace.wsid, kind=kind, actor=asked.actor, request_id=asked.request_id)
    return format_html(
        "{}: the scheduler does it within seconds. {} says what came of it.", workspace.wsid, order_link(order.order_id)
    )


RETRY_INIT: Final = ConsoleAction(
    name="retry-init",
    label="Retry init",
    question="Make the directory after all, by a new init task?",
    perform=_retry_init,
    fits=lambda workspace: workspace.state == WorkspaceState.INIT_FAILED,
    icon="replay",
    variant=ActionVariant.PRIMARY,
)
DISABLE: Final = ConsoleAction(
    name="disable",
    label="Disable",
    question="Disable it: everything can still be read, every write is refused?",
    note="Refused while tasks are live. Enable takes it back.",
    perform=_disable,
    fits=lambda workspace: workspace.state != WorkspaceState.DISABLED,
    icon="block",
    variant=ActionVariant.DANGER,
)
ENABLE: Final = ConsoleAction(
    name="enable",
    label="Enable",
    question="Let it be written to again, in the state that it had before it was disabled?",
    perform=_enable,
    fits=lambda workspace: workspace.state == WorkspaceState.DISABLED,
    icon="check_circle",
    variant=ActionVariant.PRIMARY,
)
DETACH_AGENT: Final = ConsoleAction(
    name="detach-agent",
    label="Detach agent",
    question="Take the agent's lock as free, once, if nobody answers for it?",
    note=f"An agent that answers keeps its lock. {_BY_THE_SCHEDULER}",
    perform=partial(_place, OrderKind.DETACH_AGENT),
    fits=lambda workspace: workspace.state == WorkspaceState.ACTIVE,
    icon="link_off",
)
SWEEP: Final = ConsoleAction(
    name="sweep",
    label="Sweep",
    question="Take from its disk what nobody needs any more?",
    note=_BY_THE_SCHEDULER,
    perform=partial(_place, OrderKind.SWEEP),
    fits=lambda workspace: True,
    icon="mop",
)
