"""What an operator asks of the scheduler (SPEC §1, §9): the API's host does not reach the volume."""

from __future__ import annotations

from django.db import transaction

from tasks.audit import Actor
from workspaces.models import Order, OrderKind
from workspaces.services import lock_workspace


@transaction.atomic
def place_order(*, wsid: str, kind: OrderKind, actor: Actor, request_id: str = "") -> Order:
    """To be done within seconds, and audited with its outcome then. Asked twice while open, it is the same order.

    Holds STATE(wsid). Raises NOT_FOUND, CONFLICT_LOCKED.
    """
    workspace = lock_workspace(wsid)
    already = Order.objects.open_of(wsid, kind)
    if already is not None:
        return already
    return Order.objects.create(workspace=workspace, kind=kind, actor=actor.as_json(), request_id=request_id)
