"""Who is attached to a workspace, and the way out of a lock that nobody answers for (SPEC §8, §9). For operators."""

from __future__ import annotations

from executor.upkeep import AgentSeen, Detached
from tasks.audit import Actor, record
from tasks.chores import Tools
from tasks.upkeep import at_rest
from wvs_project.errors import ErrorCode, WvsError

DETACH_ACTION = "agent.detach"


def attached_agent(*, tools: Tools, wsid: str) -> AgentSeen:
    """Who seems to be attached. Raises NOT_FOUND for a workspace that is not on the volume, ExecutorFault."""
    seen = tools.upkeep.agent(wsid)
    if seen is None:
        raise WvsError(ErrorCode.NOT_FOUND, f"no workspace {wsid} on the volume")
    return seen


def detach_agent(*, tools: Tools, wsid: str, actor: Actor, request_id: str = "") -> Detached:
    """Take the agent lock from a holder that does not answer within the quiesce time-out; audited, whatever came of it.

    Holds RUN(wsid), so no task runs meanwhile. Raises NOT_FOUND, CONFLICT_LOCKED while one does, ExecutorFault,
    Stopped.
    """
    before = attached_agent(tools=tools, wsid=wsid)
    with at_rest(wsid, tools.guards) as rest:
        if rest is None:
            raise WvsError(
                ErrorCode.CONFLICT_LOCKED,
                f"a task runs in workspace {wsid}: wait for its end, or cancel it",
                blockers=[{"wsid": wsid, "lock": "RUN"}],
                retry_after=1,
            )
        detached = tools.upkeep.detach(wsid, fence=rest.fence, stop=tools.stop)
        record(
            action=DETACH_ACTION,
            wsid=wsid,
            actor=actor,
            request_id=request_id,
            before={"attached": before.attached, "agent_id": before.agent_id, "updated_at": before.updated_at},
            after={"outcome": detached.outcome, "agent_id": detached.agent_id},
        )
    return detached
