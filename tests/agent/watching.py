"""An executor that only asks, what an agent says to it, and a tree that grows: for tests of one freeze."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from executor.layout import WorkspaceLayout
from tests.agent.scene import Limits, control_of, leave_control
from tests.waiting import eventually
from wvs_agent import protocol
from wvs_agent.protocol import AgentState, AgentStatus, ControlState

PATIENT = Limits(quiesce_timeout=60.0, freeze_lease=30.0)
"""For a machine that has other work to do."""
LEASE = 3.0
"""Seconds: enough to stop and to flush on such a machine, and soon over."""


def said(ws: WorkspaceLayout) -> AgentStatus | None:
    return protocol.read_agent(ws.agent_file)


def says(ws: WorkspaceLayout, state: AgentState, nonce: str) -> bool:
    answer = said(ws)
    return answer is not None and answer.state is state and answer.nonce == nonce


def ask(ws: WorkspaceLayout, lease: float = 30.0) -> str:
    """A REQUEST_FREEZE of an executor that does nothing more; its nonce, once the agent says FROZEN."""
    nonce = protocol.new_nonce()
    leave_control(ws, ControlState.REQUEST_FREEZE, nonce, lease)
    eventually(lambda: says(ws, AgentState.FROZEN, nonce), "FROZEN")
    return nonce


def renew(ws: WorkspaceLayout, renewal: int, lease: float) -> None:
    """The same request with its lease begun anew."""
    renewed = dataclasses.replace(control_of(ws), renewal=renewal, lease_seconds=lease)
    protocol.replace_file(ws.control, renewed.encode())


def echoes(ws: WorkspaceLayout, nonce: str, renewal: int) -> bool:
    """Whether the agent says that it is frozen, and that it saw the renewal."""
    answer = said(ws)
    return says(ws, AgentState.FROZEN, nonce) and answer is not None and answer.renewal >= renewal


def resume(ws: WorkspaceLayout, nonce: str) -> None:
    leave_control(ws, ControlState.REQUEST_RESUME, nonce)
    eventually(lambda: says(ws, AgentState.RUNNING, nonce), "RUNNING")


def contents(tree: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in tree.iterdir()}


def grows(tree: Path) -> None:
    before = contents(tree)
    eventually(lambda: contents(tree) != before, "the command goes on writing")
