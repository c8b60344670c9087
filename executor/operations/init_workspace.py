"""init_workspace: an empty workspace with everything in its place (SPEC §7; RK-07)."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from executor import contract, failpoints, switch, tree
from executor.attempt import Attempt
from executor.contract import INITIAL_LIVE_ID, ExecutorFault, FaultReason, Outcome
from executor.descriptor import fsync_directory
from executor.layout import OURS, WorkspaceLayout
from wvs_agent import protocol
from wvs_agent.protocol import Control, ControlState

_log = structlog.get_logger(__name__)


def run(attempt: Attempt) -> Outcome:
    """Make what is missing, in staging, and rename it into place one by one, `current` last."""
    ws = attempt.ws
    make_ground(ws)
    failpoints.hit("init.ground")
    with attempt.holding() as held:
        done = published(attempt)
        if done is not None:
            return done
        with attempt.staged(held) as staging:
            _build(attempt, staging)
            failpoints.hit("init.built")
            attempt.may_publish(held)
            for name in (protocol.AGENT_LOCK, protocol.AGENT_DIR, protocol.CONTROL_FILE, "snapshots", "live"):
                _place(staging / Path(name).name, ws.root / name)
                if name == "live" and os.path.lexists(staging / name / INITIAL_LIVE_ID):
                    # `live` was there, which need not mean that its first tree still is: that one may have been swept.
                    _place(staging / name / INITIAL_LIVE_ID, ws.live(INITIAL_LIVE_ID))
                failpoints.hit(f"init.placed.{Path(name).name}")
            switch.point_current(ws, ws.link_target(INITIAL_LIVE_ID), staging=staging)
            _log.info("workspace.made")
            failpoints.hit("init.switched")
    return Outcome(live_id=INITIAL_LIVE_ID, timings=attempt.timings)


def published(attempt: Attempt) -> Outcome | None:
    """Whether everything is in its place already, though `current` may point at a later tree by now.

    Raises UNSAFE_PATH if it points at anything else than one of our trees.
    """
    ws = attempt.ws
    target = switch.read_current(ws)
    if target is None:
        return None
    live_id = target.removeprefix("live/")
    if not contract.matches(contract.LIVE_ID_PATTERN, live_id) or target != ws.link_target(live_id):
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{ws.current} points at {target!r}, which is none of our trees")
    if live_id != INITIAL_LIVE_ID and tree.is_real_directory(ws.live(live_id)):
        return Outcome(live_id=live_id, already_done=True)
    whole = all(map(tree.is_real_directory, (ws.live(INITIAL_LIVE_ID), ws.snapshots_dir, ws.agent_dir)))
    if whole and all(map(os.path.lexists, (ws.agent_lock, ws.control))):
        return Outcome(live_id=INITIAL_LIVE_ID, already_done=True)
    return None


def make_ground(ws: WorkspaceLayout) -> None:
    """The workspace's directory, its `.wvs`, locks and staging: each made at once or found.

    Raises UNSAFE_PATH for a directory that is not empty and not ours; nothing in it is touched.
    """
    _refuse_foreign(ws.root)
    _make_directory(ws.root, 0o755)
    _make_directory(ws.wvs, 0o755)
    _make_directory(ws.staging_dir, 0o700)
    for path in (ws.fence_lock, ws.fence, ws.lock):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        os.close(fd)
    fsync_directory(ws.wvs)
    fsync_directory(ws.root)
    fsync_directory(ws.root.parent)


def _refuse_foreign(root: Path) -> None:
    try:
        names = set(os.listdir(root))  # noqa: PTH208 — NotADirectoryError must come up
    except FileNotFoundError:
        if root.is_symlink():
            raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{root} is a symlink") from None
        return
    if root.is_symlink() or (names and (protocol.WVS_DIR not in names or names - OURS)):
        raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{root} exists and is not a workspace: move it away and retry")


def _make_directory(path: Path, mode: int) -> None:
    try:
        path.mkdir()
    except FileExistsError:
        if not tree.is_real_directory(path):
            raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{path} is not a directory") from None
        if path.stat().st_uid != os.geteuid():
            os.chown(path, os.geteuid(), os.getegid())  # whoever owns it could rename what is ours
    path.chmod(mode)


def _build(attempt: Attempt, staging: Path) -> None:
    """All parts, complete, with their owners and modes."""
    ws = attempt.ws
    lock = staging / ws.agent_lock.name
    lock.touch()
    lock.chmod(0o666)
    _agents(attempt, staging / ws.agent_dir.name)
    protocol.replace_file(staging / ws.control.name, first_control(attempt).encode())
    (staging / "snapshots").mkdir()
    (staging / "snapshots").chmod(0o700)
    (staging / "live").mkdir()
    (staging / "live").chmod(0o755)
    _agents(attempt, staging / "live" / INITIAL_LIVE_ID)
    for path in (staging / "live", staging):
        fsync_directory(path)


def _agents(attempt: Attempt, path: Path) -> None:
    """A directory that belongs to the agent."""
    path.mkdir()
    path.chmod(0o755)
    if attempt.config.protects_from_agent:
        os.chown(path, attempt.config.agent_uid, attempt.config.agent_gid)


def first_control(attempt: Attempt) -> Control:
    """control.json of a workspace in which no freeze has been asked for."""
    return Control(
        state=ControlState.RUNNING,
        nonce="",
        renewal=0,
        lease_seconds=attempt.config.freeze_lease,
        task_id=attempt.request.task_id,
        fence=attempt.request.fence,
        current=attempt.ws.link_target(INITIAL_LIVE_ID),
        updated_at=protocol.now_text(),
    )


def _place(staged: Path, place: Path) -> None:
    """Rename into place unless an earlier attempt did; what lies there and is of another kind is not ours."""
    if os.path.lexists(place):
        if place.is_symlink() or place.is_dir() != staged.is_dir():
            raise ExecutorFault(FaultReason.UNSAFE_PATH, f"{place} is not what init_workspace makes")
        return
    staged.rename(place)
    fsync_directory(place.parent)
