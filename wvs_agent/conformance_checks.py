"""What an agent must do, one check each (SPEC §8). The first line of a check's docstring is its name in the table."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from wvs_agent import protocol
from wvs_agent.conformance import RESUME_LIMIT, Bench, Failed, Finding, Skipped, Verdict
from wvs_agent.processes import PROC
from wvs_agent.protocol import AgentState, ControlState

_OBSERVE: Final = 1.0
_CACHESTAT: Final = 451
_NEW_TREE: Final = "live/conformance"

Check = Callable[[Bench], str]


def answers(bench: Bench) -> str:
    """says FROZEN with the nonce that it was asked with"""
    begin = protocol.clock()
    with bench.frozen():
        return f"after {(protocol.clock() - begin) * 1000:.0f} ms"


def names_current(bench: Bench) -> str:
    """says where it sees `current`"""
    with bench.frozen():
        answer = bench.answer()
    seen = answer.current if answer else ""
    if seen != bench.current():
        raise Failed(f"it says {seen!r}, and it is {bench.current()!r}")
    return seen


def stands_still(bench: Bench) -> str:
    """writes nothing while it says FROZEN"""
    with bench.frozen():
        before = bench.portrait()
        time.sleep(min(_OBSERVE, bench.lease_seconds / 4))
        after = bench.portrait()
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise Failed(f"{len(changed)} entries changed, {changed[0]!r} among them")
    return f"{len(before)} entries, none changed"


def flushed(bench: Bench) -> str:
    """has flushed what it had open when it says FROZEN"""
    if not _tells_dirty_pages(bench):
        raise Skipped("this file system or this kernel does not tell; look through a second mount")
    with bench.frozen():
        dirty = [path for path in bench.files() if _dirty_pages(path)]
    if dirty:
        raise Failed(f"{len(dirty)} files have unwritten pages, {dirty[0].name!r} among them")
    return "no unwritten page"


def follows_renewals(bench: Bench) -> str:
    """answers each renewal of the lease"""
    with bench.frozen() as nonce:
        for renewal in (1, 2, 3):
            bench.say(ControlState.REQUEST_FREEZE, nonce, renewal)
            answer = bench.await_renewal(renewal)
            if (answer.state, answer.nonce) != (AgentState.FROZEN, nonce):
                raise Failed(f"renewal {renewal} was answered with {answer.state}")
    return "3 renewals"


def resumes(bench: Bench) -> str:
    """says RUNNING when it is told to go on"""
    nonce = bench.freeze()
    begin = protocol.clock()
    answer = bench.resume(nonce)
    if answer.current != bench.current():
        raise Failed(f"it sees `current` at {answer.current!r}")
    return f"after {(protocol.clock() - begin) * 1000:.0f} ms"


def obeys_lease(bench: Bench) -> str:
    """stays FROZEN to the end of the lease, then goes on by itself, and is never FROZEN by that nonce again"""
    nonce = protocol.new_nonce()
    lease = bench.say(ControlState.REQUEST_FREEZE, nonce)
    bench.await_answer(lambda said: said.nonce == nonce, bench.timeout, "an answer with our nonce")
    while lease.stands():
        answer = bench.answer()
        if answer is not None and lease.stands() and (answer.state, answer.nonce) != (AgentState.FROZEN, nonce):
            raise Failed(f"it went on {lease.remaining():.2f} s before the lease ended")
        time.sleep(0.01)
    bench.await_answer(lambda said: said.state is AgentState.RUNNING, RESUME_LIMIT, "RUNNING by itself")
    bench.say(ControlState.REQUEST_FREEZE, nonce, renewal=1)
    for answer in bench.watch_answers(_OBSERVE):
        if answer is not None and answer.state is AgentState.FROZEN:
            raise Failed("it said FROZEN for a nonce whose lease had ended")
    return f"lease of {bench.lease_seconds:g} s"


def answers_again(bench: Bench) -> str:
    """answers a later request with its own nonce"""
    for _ in range(3):
        bench.resume(bench.freeze())
    return "3 freezes"


def ignores_rubbish(bench: Bench) -> str:
    """takes no half-written request for one, and answers the next"""
    for data in (b"", b"{", b'{"state": "REQUEST_FREEZE"}', b"\0" * 100, b"[" * 60000):
        bench.scribble(data)
        for answer in bench.watch_answers(0.1):
            if answer is not None and answer.state is AgentState.FROZEN:
                raise Failed(f"it said FROZEN to {data[:30]!r}")
    bench.resume(bench.freeze())
    return "5 kinds"


def waits_for_current(bench: Bench) -> str:
    """goes on only when it sees the `current` that it is told to wait for, and says what is open in the old tree"""
    if not bench.is_scratch:
        raise Skipped("a switch is tried only in a workspace made by --init")
    old = bench.current()
    new = "live/initial" if old == _NEW_TREE else _NEW_TREE
    (bench.root / new).mkdir(exist_ok=True)
    nonce = bench.freeze()
    bench.say(ControlState.REQUEST_RESUME, nonce, current=new)
    for answer in bench.watch_answers(_OBSERVE / 2):
        if answer is not None and (answer.state, answer.nonce) == (AgentState.RUNNING, nonce):
            raise Failed("it went on while `current` was the old one")
    bench.point_current(new)
    said = bench.await_answer(
        lambda said: said.nonce == nonce and said.state is AgentState.RUNNING, RESUME_LIMIT, "RUNNING after the switch"
    )
    if said.current != new:
        raise Failed(f"it sees `current` at {said.current!r}")
    held = list(_open_below(bench.root, old))
    if held and not said.old_handles:
        raise Failed(f"it did not report what is open in the old tree: process {held[0]}")
    return f"{len(said.old_handles)} old handles reported"


CHECKS: Final[tuple[Check, ...]] = (
    answers,
    names_current,
    stands_still,
    flushed,
    follows_renewals,
    resumes,
    obeys_lease,
    answers_again,
    ignores_rubbish,
    waits_for_current,
)


def examine(bench: Bench) -> Iterator[Finding]:
    """Each check's outcome, as it comes."""
    for check in CHECKS:
        name = (check.__doc__ or check.__name__).splitlines()[0]
        try:
            yield Finding(name, Verdict.OK, check(bench))
        except Failed as failure:
            yield Finding(name, Verdict.FAILED, str(failure))
        except Skipped as reason:
            yield Finding(name, Verdict.SKIPPED, str(reason))


def _open_below(root: Path, tree: str) -> Iterator[int]:
    """Processes of this host that hold the agent lock and have something open in that tree."""
    lock = str(root / protocol.AGENT_LOCK)
    for process in filter(lambda entry: entry.name.isdecimal(), PROC.iterdir()):
        with contextlib.suppress(OSError):
            places = [str(link.readlink()) for link in (*(process / "fd").iterdir(), process / "cwd")]
            if lock in places and any(f"{place}/".startswith(f"{root}/{tree}/") for place in places):
                yield int(process.name)


def _tells_dirty_pages(bench: Bench) -> bool:
    """Whether unwritten pages can be seen here at all: tried with a file of our own."""
    trial = bench.root / ".wvs" / "dirty.tmp"
    try:
        trial.write_bytes(b"x" * 100000)
        return _dirty_pages(trial) > 0
    finally:
        trial.unlink(missing_ok=True)


def _dirty_pages(path: Path) -> int:
    """Pages of the file that wait to be written, by cachestat(2); 0 where it is unknown."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        whole, counts = (ctypes.c_uint64 * 2)(0, 0), (ctypes.c_uint64 * 5)()
        libc = ctypes.CDLL(None, use_errno=True)
        failed = libc.syscall(ctypes.c_long(_CACHESTAT), fd, ctypes.byref(whole), ctypes.byref(counts), 0)
        return 0 if failed else int(counts[1] + counts[2])
    finally:
        os.close(fd)
