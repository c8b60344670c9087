"""/v1/workspaces/{wsid}/snapshots, …/current and …/current:set (SPEC §4)."""

from __future__ import annotations

from typing import Final

from rest_framework.response import Response

from snapshots import services
from snapshots.api.serializers import (
    CreateSnapshotIn,
    CurrentEnvelopeOut,
    SetCurrentIn,
    SnapshotAcceptedOut,
    SnapshotOut,
)
from snapshots.models import Snapshot
from tasks.api.edge import accepted, actor_of, token_of
from tasks.api.serializers import TaskAcceptedOut
from workspaces.services import get_workspace
from wvs_project.errors import ErrorCode
from wvs_project.http.pagination import ListQuery, page_of, paginate
from wvs_project.http.serializers import NoFields
from wvs_project.http.views import ApiViewSet, Call, endpoint

SnapshotPage: Final = page_of(SnapshotOut, "SnapshotPage")
_WRITE: Final = (
    ErrorCode.PRECONDITION_FAILED,
    ErrorCode.GONE,
    ErrorCode.CONFLICT_IDEMPOTENT_MISMATCH,
    ErrorCode.CONFLICT_LOCKED,
)
_IN_USE: Final = ErrorCode.CONFLICT_SNAPSHOT_IN_USE


class SnapshotViews(ApiViewSet):
    """Snapshots of one workspace."""

    @endpoint(
        "createSnapshot",
        status=202,
        answer=SnapshotAcceptedOut,
        body=CreateSnapshotIn,
        idempotent=True,
        refusals=_WRITE,
        tag="snapshots",
    )
    def create(self, call: Call, wsid: str) -> Response:
        """Freeze the directory and keep a read-only copy."""
        write = services.create_snapshot(
            wsid=wsid, message=call.body["message"], token=token_of(call), actor=actor_of(call)
        )
        return accepted(write, SnapshotAcceptedOut(write.task).data)

    @endpoint("listSnapshots", answer=SnapshotPage, query=ListQuery, tag="snapshots")
    def list(self, call: Call, wsid: str) -> Response:
        """The workspace's snapshots, newest first, without the dropped ones."""
        get_workspace(wsid=wsid)
        snapshots = Snapshot.objects.of_workspace(wsid).kept().saying_which_is_current()
        return Response(SnapshotPage(paginate(snapshots, path=call.request.path, query=call.query)).data)

    @endpoint("getSnapshot", answer=SnapshotOut, tag="snapshots")
    def retrieve(self, call: Call, wsid: str, snapshot_id: str) -> Response:
        """One snapshot that is not dropped."""
        return Response(SnapshotOut(services.kept_snapshot(wsid=wsid, snapshot_id=snapshot_id)).data)

    @endpoint(
        "dropSnapshot",
        status=202,
        answer=TaskAcceptedOut,
        body=NoFields,
        idempotent=True,
        refusals=[*_WRITE, _IN_USE],
        tag="snapshots",
    )
    def destroy(self, call: Call, wsid: str, snapshot_id: str) -> Response:
        """Delete a snapshot, unless something needs it."""
        write = services.drop_snapshot(wsid=wsid, snapshot_id=snapshot_id, token=token_of(call), actor=actor_of(call))
        return accepted(write, TaskAcceptedOut(write.task).data)


class CurrentViews(ApiViewSet):
    """What the workspace's `current` points at."""

    @endpoint("getCurrent", answer=CurrentEnvelopeOut, tag="current")
    def retrieve(self, call: Call, wsid: str) -> Response:
        """Pointer and path."""
        return Response(CurrentEnvelopeOut({"data": get_workspace(wsid=wsid)}).data)

    @endpoint(
        "setCurrent",
        status=202,
        answer=TaskAcceptedOut,
        body=SetCurrentIn,
        idempotent=True,
        refusals=[*_WRITE, _IN_USE],
        tag="current",
    )
    def set(self, call: Call, wsid: str) -> Response:
        """Roll back or forward to a snapshot. Already there: nothing is done, unless `fresh`."""
        write = services.set_current(wsid=wsid, token=token_of(call), actor=actor_of(call), **call.body)
        return accepted(write, TaskAcceptedOut(write.task).data)
