"""wvsctl audit."""

from __future__ import annotations

import pytest

from tests.wvsctl.running import Wvsctl

pytestmark = pytest.mark.rule("SPEC §9")


def test_list_tells_who_did_what_and_filters(wvsctl: Wvsctl) -> None:
    made = {wsid: wvsctl(f"workspace create {wsid} --owner team-a --json").json for wsid in ("demo", "other")}
    wvsctl(f"task cancel {made['demo']['task_id']}").ok()
    every = wvsctl("audit list --wsid demo --json").json["items"]
    assert {one["wsid"] for one in every} == {"demo"}
    one = wvsctl(f"audit list --task-id {made['demo']['task_id']} --action task.cancel --json").json["items"][0]
    assert one.keys() == {"event_id", "ts", "wsid", "actor", "action", "request_id", "task_id", "payload"}
    assert one["actor"]["type"] == "anonymous"
    assert "task.cancel" in wvsctl("audit list").ok()
