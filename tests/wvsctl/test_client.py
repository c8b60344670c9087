"""wvsctl.client: what is tried again, with which key, for how long. A real API cannot be made to show these faults."""

from __future__ import annotations

import httpx
import pytest

from tasks.models import Task as TaskRow
from tasks.states import Status
from tests.factories import make_task, make_workspace
from tests.waiting import InThread
from wvsctl import ApiError, Client, Task, Unreachable, WaitTimedOut
from wvsctl.client import every

pytestmark = pytest.mark.rule("SPEC §9")

ACCEPTED = httpx.Response(202, json={"task_id": "task-1", "status": "PENDING", "snapshot_id": "snap-1"})
Say = httpx.Response | Exception


class Script:
    """A server that says one thing after the other, on a clock that only sleeping moves."""

    def __init__(self, *says: Say) -> None:
        self._says = list(says)
        self.seen: list[httpx.Request] = []
        self.slept: list[float] = []
        self.told: list[str] = []
        self.now = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        said = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if isinstance(said, Exception):
            raise said
        return said

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def client(self, retry_for: float = 20.0) -> Client:
        transport = httpx.MockTransport(self.answer)
        return Client(
            "http://wvs",
            transport=transport,
            retry_for=retry_for,
            clock=lambda: self.now,
            sleep=self.sleep,
            on_retry=self.told.append,
        )

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("Idempotency-Key") for request in self.seen]


def refusal(
    status: int, code: str = "WVS_INTERNAL", *, retry_after: int | None = None, **details: object
) -> httpx.Response:
    body = {"code": code, "message": "no", "request_id": "req-1", "details": details}
    return httpx.Response(status, json=body, headers={} if retry_after is None else {"Retry-After": str(retry_after)})


@pytest.mark.parametrize(
    "lost",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("too late"),
        httpx.RemoteProtocolError("cut off"),
        httpx.Response(502, text="<html>"),
        httpx.Response(503),
        refusal(504),
        refusal(500, retry_after=1),
    ],
    ids=str,
)
def test_a_write_without_an_answer_is_sent_again_unchanged_with_the_same_key(lost: Say) -> None:
    script = Script(lost, lost, ACCEPTED)
    assert script.client().create_snapshot("demo", message="m").snapshot_id == "snap-1"
    assert len(script.seen) == 3
    assert len(set(script.keys)) == 1
    assert script.keys[0]
    assert len({request.content for request in script.seen}) == 1


def test_every_write_has_a_key_of_its_own_unless_one_is_given() -> None:
    script = Script(ACCEPTED)
    client = script.client()
    client.create_snapshot("demo")
    client.drop_snapshot("demo", "snap-1")
    client.set_current("demo", "snap-1", key="mine")
    assert len(set(script.keys)) == 3
    assert script.keys[2] == "mine"


@pytest.mark.parametrize("status", [400, 404, 409, 410, 412, 500])
def test_a_refusal_and_a_crash_are_not_repeated(status: int) -> None:
    script = Script(refusal(status))
    with pytest.raises(ApiError) as refused:
        script.client().create_snapshot("demo")
    assert (len(script.seen), refused.value.status, script.slept) == (1, status, [])


def test_the_pauses_grow_up_to_a_cap_and_end_with_the_limit() -> None:
    script = Script(httpx.ConnectError("refused"))
    with pytest.raises(Unreachable, match="http://wvs does not answer: refused"):
        script.client(retry_for=60).get_workspace("demo")
    growing = [0.2, 0.4, 0.8, 1.6, 3.2]
    assert all(most / 2 <= slept <= most for slept, most in zip(script.slept, growing, strict=False))
    assert all(2.5 <= slept <= 5.0 for slept in script.slept[5:])
    assert 50 < script.now <= 60
    assert script.told == ["http://wvs does not answer: refused"]


def test_the_api_says_when_to_come_back() -> None:
    script = Script(refusal(503, retry_after=7), ACCEPTED)
    script.client().create_snapshot("demo")
    assert script.slept == [7.0]


def test_a_time_to_come_back_beyond_the_limit_is_not_waited_for() -> None:
    script = Script(refusal(503, retry_after=3600))
    with pytest.raises(ApiError) as refused:
        script.client().create_snapshot("demo")
    assert (refused.value.retry_after, script.slept) == (3600.0, [])


def test_a_cancel_whose_answer_was_lost_is_not_taken_for_a_refusal() -> None:
    blocker = {"task_id": "task-1", "op": "set_current", "status": "CANCELED"}
    script = Script(httpx.ReadError("cut off"), refusal(409, "WVS_CONFLICT_LOCKED", blockers=[blocker]))
    assert script.client().cancel_task("task-1").status == "CANCELED"
    with pytest.raises(ApiError):  # at the first try it was somebody else's
        script.client().cancel_task("task-1")


def test_what_is_not_the_api_is_said_not_to_be() -> None:
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(404, text="nginx"), httpx.Response(403, json=[])):
        with pytest.raises(ApiError, match="does not answer as the API of WVS does") as refused:
            Script(answer).client().get_workspace("demo")
        assert refused.value.code == f"HTTP_{answer.status_code}"


def _task(status: str) -> dict[str, object]:
    return {
        **dict.fromkeys(Task.__dataclass_fields__, ""),
        "task_id": "task-1",
        "status": status,
        "later": "a field of a newer API",
    }


def test_who_finds_no_place_to_wait_comes_back_when_told() -> None:
    busy = httpx.Response(200, json=_task("RUNNING"), headers={"Retry-After": "1"})
    script = Script(busy, busy, httpx.Response(200, json=_task("SUCCEEDED")))
    assert script.client().wait_task("task-1", timeout=60).status == "SUCCEEDED"
    assert script.slept == [1.0, 1.0]


def test_a_wait_outlasts_a_pause_of_the_api_but_not_its_own_end() -> None:
    lost = httpx.ConnectError("refused")
    script = Script(lost, lost, httpx.Response(200, json=_task("SUCCEEDED")))
    assert script.client().wait_task("task-1", timeout=60).status == "SUCCEEDED"
    script = Script(lost)
    with pytest.raises(Unreachable):
        script.client(retry_for=20).wait_task("task-1", timeout=3)
    assert script.now <= 3
    script = Script(lost)
    with pytest.raises(Unreachable):
        script.client(retry_for=20).wait_task("task-1", timeout=600)
    assert 10 < script.now <= 20


def test_an_api_that_answers_too_early_is_not_asked_without_pause() -> None:
    early = httpx.Response(200, json=_task("RUNNING"))
    script = Script(early)
    with pytest.raises(WaitTimedOut) as late:
        script.client().wait_task("task-1", timeout=2)
    assert script.now == pytest.approx(2)
    assert (len(script.seen) < 15, late.value.task_id) == (True, "task-1")


def test_the_wait_is_over_with_the_task(client: Client) -> None:
    task = make_task(make_workspace("demo"), status=Status.RUNNING)
    looks: list[str] = []
    waiting = InThread(lambda: client.wait_task(task.task_id, on_progress=lambda seen: looks.append(seen.status)))
    TaskRow.objects.filter(pk=task.pk).update(progress={"phase": "clone", "entries_done": 1, "entries_total": 2})
    task.refresh_from_db()
    task.move(Status.SUCCEEDED)
    assert waiting.result().status == "SUCCEEDED"
    assert looks[-1] == "SUCCEEDED"


def test_every_item_of_a_list_comes_once(client: Client) -> None:
    made = [make_workspace(f"demo-{number}").wsid for number in range(5)]
    found = every(lambda cursor: client.list_workspaces(limit=2, cursor=cursor))
    assert [one.wsid for one in found] == made[::-1]
