"""Operators' orders, done by the leading scheduler within seconds (SPEC §9)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import structlog

from executor.contract import ExecutorFault
from snapshots.sweep import Sweeper
from tasks.agents import detach_agent
from tasks.audit import Actor
from tasks.chores import Chore, Tools
from workspaces.models import Order, OrderKind
from wvs_project.errors import ErrorCode, WvsError

_BUSY_SECONDS: Final = 600.0
"""How long an order waits for the end of what runs in its workspace."""

log = structlog.get_logger(__name__)


class _Busy(Exception):
    """A task runs: later."""


class OrdersChore(Chore):
    """One after the other, oldest first; what waits for a task to end holds up no other."""

    name = "orders"

    def wanted(self) -> bool:
        """Whether an order is open."""
        return Order.objects.open().exists()

    def run(self, tools: Tools) -> None:
        """Raises Stopped. An order that was cut short is done again: both kinds can be."""
        for order in list(Order.objects.open()):
            tools.stop.check()
            # Who asked for it finds it in all logs, the executor's too.
            with structlog.contextvars.bound_contextvars(request_id=order.request_id, wsid=order.workspace_id):
                _do(order, tools)


def _do(order: Order, tools: Tools) -> None:
    try:
        outcome = _DOERS[OrderKind(order.kind)](order, tools)
    except _Busy:
        if not Order.objects.open().older_than(_BUSY_SECONDS).filter(pk=order.pk).exists():
            return
        order.end(error=f"a task ran in the workspace all the time, for {_BUSY_SECONDS:g} s")
    except WvsError as error:
        order.end(error=f"{error.code.code}: {error.message}")
    except ExecutorFault as fault:
        order.end(error=f"{fault.reason}: {fault.message}")
    else:
        order.end(outcome=outcome)
    log.info("order.ended", order=order.order_id, kind=order.kind)


def _detach(order: Order, tools: Tools) -> dict[str, Any]:
    try:
        detached = detach_agent(
            tools=tools, wsid=order.workspace_id, actor=Actor(**order.actor), request_id=order.request_id
        )
    except WvsError as error:
        if error.code is ErrorCode.CONFLICT_LOCKED:
            raise _Busy from error
        raise
    return {"outcome": detached.outcome.value, "agent_id": detached.agent_id}


def _sweep(order: Order, tools: Tools) -> dict[str, Any]:
    sweeper = Sweeper(tools, timedelta(seconds=tools.config.live_grace), Actor(**order.actor))
    reports = list(sweeper.sweep_all([order.workspace_id]))
    if any(report.busy for report in reports):
        raise _Busy
    return {
        name: [thing for report in reports for thing in getattr(report, name)]
        for name in ("moved", "deleted", "problems")
    }


_DOERS: Final = {OrderKind.DETACH_AGENT: _detach, OrderKind.SWEEP: _sweep}
