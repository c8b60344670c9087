"""GET /v1/tasks, GET /v1/tasks/{task_id}, POST …:cancel, GET /v1/audit (SPEC §4)."""

from __future__ import annotations

from functools import partial
from typing import Final

from rest_framework.response import Response

from tasks import services, waiting
from tasks.api.edge import actor_of
from tasks.api.serializers import (
    AuditEventOut,
    AuditListQuery,
    TaskCanceledOut,
    TaskListQuery,
    TaskOut,
    TaskQuery,
)
from tasks.models import AuditEvent, Task
from wvs_project.errors import ErrorCode
from wvs_project.http.pagination import filters_in, page_of, paginate
from wvs_project.http.serializers import NoFields
from wvs_project.http.views import ApiViewSet, Call, endpoint

TaskPage: Final = page_of(TaskOut, "TaskPage")
AuditPage: Final = page_of(AuditEventOut, "AuditPage")


class TaskViews(ApiViewSet):
    """Tasks."""

    @endpoint("listTasks", answer=TaskPage, query=TaskListQuery, in_path=False, tag="tasks")
    def list(self, call: Call) -> Response:
        """Tasks, newest first."""
        tasks = Task.objects.matching(**filters_in(call.query))
        return Response(TaskPage(paginate(tasks, path=call.request.path, query=call.query)).data)

    @endpoint("getTask", answer=TaskOut, query=TaskQuery, may_hurry=True, tag="tasks")
    def retrieve(self, call: Call, task_id: str) -> Response:
        """One task, at once or when it is finished.

        With `wait` and too many waiting already, it is answered at once and unfinished, with Retry-After.
        """
        read = partial(services.get_task, task_id=task_id)
        wait: float = call.query["wait"]
        if not wait:
            return Response(TaskOut(read()).data)
        task, waited = waiting.read_when(read, lambda row: row.state.is_finished, task_id=task_id, seconds=wait)
        hurried = not waited and not task.state.is_finished
        return Response(TaskOut(task).data, headers={"Retry-After": "1"} if hurried else None)

    @endpoint("cancelTask", answer=TaskCanceledOut, body=NoFields, refusals=[ErrorCode.CONFLICT_LOCKED], tag="tasks")
    def cancel(self, call: Call, task_id: str) -> Response:
        """Cancel what has not begun; ask what runs to stop. A finished task is 409."""
        task = services.cancel_task(task_id=task_id, actor=actor_of(call), request_id=call.request_id)
        return Response(TaskCanceledOut(task).data)


class AuditViews(ApiViewSet):
    """The audit trail: read-only."""

    @endpoint("listAuditEvents", answer=AuditPage, query=AuditListQuery, in_path=False, tag="audit")
    def list(self, call: Call) -> Response:
        """Events, newest first."""
        events = AuditEvent.objects.filter(**filters_in(call.query))
        return Response(AuditPage(paginate(events, path=call.request.path, query=call.query, time="ts")).data)
