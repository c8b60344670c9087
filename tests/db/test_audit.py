"""The audit trail is append-only (SPEC §5)."""

from __future__ import annotations

import pytest

from tasks.audit import record
from tasks.models import AuditEvent
from tests.db.refusal import refusal, sql
from tests.factories import ACTOR

pytestmark = [pytest.mark.django_db, pytest.mark.rule("SPEC §5")]


@pytest.fixture
def event() -> AuditEvent:
    record(action="workspace.create", wsid="ws-1", actor=ACTOR, after={"state": "PROVISIONING"})
    return AuditEvent.objects.get()


def test_an_event_says_who_did_what_and_what_it_changed(event: AuditEvent) -> None:
    assert event.actor == {"type": "test", "id": "tester"}
    assert event.payload == {"before": None, "after": {"state": "PROVISIONING"}, "error": None}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET action = 'task.cancel'",
        "UPDATE audit SET action = action",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE event_id = (SELECT max(event_id) FROM audit)",
    ],
)
def test_an_event_cannot_be_changed_or_removed(event: AuditEvent, statement: str) -> None:
    assert "audit" in str(refusal(lambda: sql(statement)))
    assert AuditEvent.objects.get().action == "workspace.create"


def test_an_event_cannot_be_saved_again_or_deleted_by_its_model(event: AuditEvent) -> None:
    event.action = "task.cancel"
    refusal(event.save)
    refusal(event.delete)
    assert AuditEvent.objects.get().action == "workspace.create"
