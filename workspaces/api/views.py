"""/v1/workspaces (SPEC §4)."""

from __future__ import annotations

from typing import Final

from rest_framework.response import Response

from tasks.api.edge import accepted, actor_of, token_of
from tasks.api.serializers import TaskAcceptedOut
from workspaces import services
from workspaces.api.serializers import (
    CreateWorkspaceIn,
    DisabledOut,
    ProvisioningOut,
    WorkspaceListQuery,
    WorkspaceOut,
)
from workspaces.models import Workspace
from wvs_project.errors import ErrorCode
from wvs_project.http.pagination import filters_in, page_of, paginate
from wvs_project.http.serializers import NoFields
from wvs_project.http.views import ApiViewSet, Call, endpoint

WorkspacePage: Final = page_of(WorkspaceOut, "WorkspacePage")
_MISMATCH: Final = ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH


class WorkspaceViews(ApiViewSet):
    """Workspaces."""

    @endpoint(
        "createWorkspace",
        status=202,
        answer=ProvisioningOut,
        body=CreateWorkspaceIn,
        idempotent=True,
        refusals=[ErrorCode.CONFLICT_EXISTS, _MISMATCH, ErrorCode.CONFLICT_LOCKED],
        in_path=False,
        tag="workspaces",
    )
    def create(self, call: Call) -> Response:
        """Make a workspace: the row at once, the directory by a task."""
        made = services.create_workspace(
            wsid=call.body["wsid"], owner=call.body["owner"], token=token_of(call), actor=actor_of(call)
        )
        return accepted(made.accepted, ProvisioningOut(made).data)

    @endpoint("listWorkspaces", answer=WorkspacePage, query=WorkspaceListQuery, in_path=False, tag="workspaces")
    def list(self, call: Call) -> Response:
        """Workspaces, newest first."""
        workspaces = Workspace.objects.filter(**filters_in(call.query))
        return Response(WorkspacePage(paginate(workspaces, path=call.request.path, query=call.query)).data)

    @endpoint("getWorkspace", answer=WorkspaceOut, tag="workspaces")
    def retrieve(self, call: Call, wsid: str) -> Response:
        """One workspace."""
        return Response(WorkspaceOut(services.get_workspace(wsid=wsid)).data)

    @endpoint(
        "disableWorkspace",
        answer=DisabledOut,
        body=NoFields,
        refusals=[ErrorCode.PRECONDITION_FAILED, ErrorCode.CONFLICT_LOCKED],
        tag="workspaces",
    )
    def destroy(self, call: Call, wsid: str) -> Response:
        """Soft delete: at once, only without live tasks, repeatable. Everything can still be read."""
        workspace = services.disable_workspace(wsid=wsid, actor=actor_of(call), request_id=call.request_id)
        return Response(DisabledOut(workspace).data)

    @endpoint(
        "retryInit",
        status=202,
        answer=TaskAcceptedOut,
        body=NoFields,
        idempotent=True,
        refusals=[ErrorCode.PRECONDITION_FAILED, ErrorCode.GONE, _MISMATCH, ErrorCode.CONFLICT_LOCKED],
        tag="workspaces",
    )
    def retry_init(self, call: Call, wsid: str) -> Response:
        """Make the directory after all, when the first init failed for good."""
        write = services.retry_init(wsid=wsid, token=token_of(call), actor=actor_of(call))
        return accepted(write, TaskAcceptedOut(write.task).data)
