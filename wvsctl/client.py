"""The API v1 as Python: `with Client("http://127.0.0.1:8080") as wvs: wvs.create_snapshot("demo")`.

Every call may raise ApiError (the API refused) and Unreachable. Writes take an idempotency key: one is made if none is
given; give your own to repeat a write later, also from another process, without doing it twice.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self, TypeVar

import httpx

from wvsctl.errors import ApiError, InvalidId, WaitTimedOut
from wvsctl.models import (
    Accepted,
    ApiVersion,
    AuditEvent,
    Canceled,
    Current,
    Disabled,
    Page,
    Provisioning,
    Raw,
    Snapshot,
    Task,
    Workspace,
)
from wvsctl.transport import Transport

DEFAULT_REQUEST_TIMEOUT: Final = 10.0
DEFAULT_RETRY_FOR: Final = 20.0
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,127}")
_LONG_WAIT: Final = 30.0
_WATCHED_WAIT: Final = 0.5
_TOO_EARLY_PAUSE: Final = 0.2

T = TypeVar("T")


def _in_path(part: str) -> str:
    """An id as part of a path. Raises InvalidId for what could address something else: %2F is a slash to a server."""
    if _ID.fullmatch(part) is None:
        raise InvalidId(f"{part!r} cannot be an id: letters, digits and - only")
    return part


class Client:
    """A client of one API. Seconds: `request_timeout` for one answer, `retry_for` in which it is tried again.

    `on_retry` hears why a request is tried again, once for each. Not for several threads at once.
    """

    def __init__(
        self,
        url: str,
        *,
        request_timeout: float = DEFAULT_REQUEST_TIMEOUT,
        retry_for: float = DEFAULT_RETRY_FOR,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        on_retry: Callable[[str], None] | None = None,
    ) -> None:
        self._transport = Transport(
            url,
            request_timeout=request_timeout,
            retry_for=retry_for,
            transport=transport,
            clock=clock,
            sleep=sleep,
            on_retry=on_retry,
        )

    @property
    def url(self) -> str:
        """Where the API is."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()

    def create_workspace(self, wsid: str, *, owner: str, key: str | None = None) -> Provisioning:
        """Ask for a workspace; it is there when its task has succeeded."""
        answer = self._transport.request(
            "POST", "/v1/workspaces", body={"wsid": wsid, "owner": owner}, key=key or new_key()
        )
        return Provisioning.of(answer.body, replayed=answer.replayed)

    def retry_init(self, wsid: str, *, key: str | None = None) -> Accepted:
        """Make the directory after all, of an INIT_FAILED workspace."""
        return self._write("POST", f"{_workspace(wsid)}/retry-init", body={}, key=key)

    def get_workspace(self, wsid: str) -> Workspace:
        """In whatever state."""
        return Workspace.of(self._get(_workspace(wsid)))

    def list_workspaces(
        self, *, state: str | None = None, owner: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Workspace]:
        """One page, newest first."""
        query = {"state": state, "owner": owner, "limit": limit, "cursor": cursor}
        return Page.of(self._get("/v1/workspaces", **query), Workspace.of)

    def disable_workspace(self, wsid: str) -> Disabled:
        """Soft delete: at once, repeatable, only without live tasks."""
        return Disabled.of(self._transport.request("DELETE", _workspace(wsid)).body)

    def create_snapshot(self, wsid: str, *, message: str = "", key: str | None = None) -> Accepted:
        """Snapshot the current tree; the snapshot's id is known at once."""
        return self._write("POST", f"{_workspace(wsid)}/snapshots", body={"message": message}, key=key)

    def get_snapshot(self, wsid: str, snapshot_id: str) -> Snapshot:
        """One that is not dropped."""
        return Snapshot.of(self._get(f"{_workspace(wsid)}/snapshots/{_in_path(snapshot_id)}"))

    def list_snapshots(self, wsid: str, *, limit: int | None = None, cursor: str | None = None) -> Page[Snapshot]:
        """One page, newest first, without the dropped ones."""
        return Page.of(self._get(f"{_workspace(wsid)}/snapshots", limit=limit, cursor=cursor), Snapshot.of)

    def drop_snapshot(self, wsid: str, snapshot_id: str, *, key: str | None = None) -> Accepted:
        """Delete a snapshot that nothing needs."""
        return self._write("DELETE", f"{_workspace(wsid)}/snapshots/{_in_path(snapshot_id)}", key=key)

    def get_current(self, wsid: str) -> Current:
        """Which tree the agent sees."""
        return Current.of(self._get(f"{_workspace(wsid)}/current")["data"])

    def set_current(self, wsid: str, snapshot_id: str, *, fresh: bool = False, key: str | None = None) -> Accepted:
        """Switch to a snapshot. Already there: nothing is done, unless `fresh`."""
        body = {"snapshot_id": snapshot_id, "fresh": fresh}
        return self._write("POST", f"{_workspace(wsid)}/current:set", body=body, key=key)

    def get_task(self, task_id: str) -> Task:
        """As it is now."""
        return Task.of(self._get(_task(task_id)))

    def list_tasks(
        self,
        *,
        wsid: str | None = None,
        status: str | None = None,
        op: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Task]:
        """One page, newest first."""
        query = {"wsid": wsid, "status": status, "op": op, "limit": limit, "cursor": cursor}
        return Page.of(self._get("/v1/tasks", **query), Task.of)

    def cancel_task(self, task_id: str) -> Canceled:
        """Cancel what has not begun, ask what runs to stop. Raises ApiError 409 for a finished task.

        A cancel has no idempotency key: where a try was lost and the next finds the task CANCELED, it was ours.
        """
        try:
            return Canceled.of(self._transport.request("POST", f"{_task(task_id)}:cancel", body={}).body)
        except ApiError as error:
            if not error.was_repeated or [blocker.get("status") for blocker in error.blockers] != ["CANCELED"]:
                raise
            return Canceled(task_id, "CANCELED", cancel_requested=True)

    def wait_task(
        self,
        task_id: str,
        *,
        timeout: float | None = None,
        on_progress: Callable[[Task], None] | None = None,
    ) -> Task:
        """The task once it is finished, however it ended; `on_progress` gets each look at it.

        Raises WaitTimedOut after `timeout` seconds (None: never). The API holds the question until there is news.
        """
        now = self._transport.clock
        end = None if timeout is None else now() + timeout
        slice_ = _LONG_WAIT if on_progress is None else _WATCHED_WAIT
        task: Task | None = None
        while True:
            left = slice_ if end is None else max(0.0, end - now())
            begun, wait = now(), min(slice_, left)
            query = {"wait": f"{wait:.3f}"}
            # No further try past the end of the wait; the first there always is.
            limit = None if end is None else left
            answer = self._transport.request("GET", _task(task_id), query=query, patience=wait, at_most=limit)
            task = Task.of(answer.body)
            if on_progress is not None:
                on_progress(task)
            if task.is_finished:
                return task
            if end is not None and now() >= end:
                raise WaitTimedOut(task_id, timeout or 0.0, task)
            # Answered before its time: the API has no place for waiters now, or it is about to end.
            pause = answer.retry_after or (_TOO_EARLY_PAUSE if now() - begun < wait / 2 else 0.0)
            self._transport.sleep(min(pause, pause if end is None else max(0.0, end - now())))

    def list_audit(
        self,
        *,
        wsid: str | None = None,
        task_id: str | None = None,
        action: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[AuditEvent]:
        """One page, newest first."""
        query = {"wsid": wsid, "task_id": task_id, "action": action, "limit": limit, "cursor": cursor}
        return Page.of(self._get("/v1/audit", **query), AuditEvent.of)

    def api_version(self) -> ApiVersion:
        """Who answers, in one try."""
        begun = self._transport.clock()
        answer = self._transport.request("GET", "/v1/openapi.json", at_most=0.0)
        seconds = self._transport.clock() - begun
        info = answer.body.get("info", {}) if isinstance(answer.body, dict) else {}
        date = answer.headers.get("Date")
        return ApiVersion(
            str(info.get("title", "")),
            str(info.get("version", "")),
            parsedate_to_datetime(date) if date else None,
            seconds,
        )

    def _get(self, path: str, **query: object) -> Any:
        return self._transport.request("GET", path, query=query).body

    def _write(self, method: str, path: str, *, body: Raw | None = None, key: str | None = None) -> Accepted:
        answer = self._transport.request(method, path, body=body, key=key or new_key())
        return Accepted.of(answer.body, replayed=answer.replayed)


def every(page: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """All items of a list, page by page: `every(lambda cursor: client.list_tasks(wsid="demo", cursor=cursor))`."""
    cursor: str | None = None
    while True:
        one = page(cursor)
        yield from one
        if one.next_cursor is None:
            return
        cursor = one.next_cursor


def new_key() -> str:
    """An idempotency key that nobody has used."""
    return f"wvsctl-{uuid.uuid4()}"


def _workspace(wsid: str) -> str:
    return f"/v1/workspaces/{_in_path(wsid)}"


def _task(task_id: str) -> str:
    return f"/v1/tasks/{_in_path(task_id)}"
