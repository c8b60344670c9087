"""What a copy of a tree needs to become what the tree is now (SPEC §7): decided here, done in `bring.py`.

A copied entry is believed only on evidence. The copy was made at some unknown moment between two looks at the source,
so it is as good as the source is now exactly if the entry did not change in between, and its path meant the same entry
all the time:

- an inode whose ctime is the same was not written, nor moved: each of these touches its ctime. An entry that changed
  right before the first look is not believed, since a coarse clock may tick too slowly to show that it changed again;
- a path means the same entry if no directory above it was moved. A directory's ctime tells that it was moved, or that
  an entry of it was: which of both, its parent's says, for a move touches the parent too. JuiceFS leaves a directory's
  times alone that are younger than 100 ms, so a parent that was touched right before the first look counts as touched
  since. Such a suspect is copied anew with everything below it (H3).

Extended attributes are seen by ctime too, but not on JuiceFS: see `precopy.py`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from executor.survey import Entries, Seen, Survey, below

Claims = dict[bytes, Mapping[bytes, Seen | None]]
"""What a copy holds, by directory and name: the look at the source as which the entry is as good; None: as nothing."""


@dataclass(slots=True)
class Plan:
    """What is to be done, directories before what they hold."""

    removed: list[tuple[bytes, bytes]] = field(default_factory=list)
    made: list[tuple[bytes, bytes, Seen]] = field(default_factory=list)
    copied: dict[bytes, Entries] = field(default_factory=dict)
    touched: dict[bytes, Seen] = field(default_factory=dict)
    """Directories that stay, but whose mode, owner or attributes may be others now."""

    @property
    def cost(self) -> int:
        """Entries to remove or to make."""
        return len(self.removed) + len(self.made) + sum(map(len, self.copied.values()))


@dataclass(slots=True)
class Copied:
    """A copy, and the look at the source that came before everything in it was copied."""

    base: Survey
    claims: Claims

    @classmethod
    def nothing(cls, base: Survey) -> Copied:
        """A copy that is still an empty directory."""
        return cls(base, {b"": {}})

    @classmethod
    def cloned(cls, base: Survey, copy: Survey) -> Copied:
        """A clone that was begun after the look `base` was over, as it looks now; what differs is not believed."""
        claims: Claims = {}
        for path, entries in copy.directories.items():
            was = base.directories.get(path, {})
            claims[path] = {name: _claim(was.get(name), seen) for name, seen in entries.items()}
        return cls(base, claims)

    def brought_to(self, now: Survey, failed: set[tuple[bytes, bytes]]) -> Copied:
        """The copy after a plan for `now` was carried out, but for what failed."""
        claims: Claims = {}
        claims.update(now.directories)
        for path, name in failed:
            if path in claims:
                claims[path] = {**claims[path], name: None}
        return Copied(now, claims)

    def plan(self, now: Survey) -> Plan:
        """What makes the copy what the source was at the look `now`, which is a later one."""
        plan = Plan()
        waiting = [(b"", False, self._stirred(self.base.root, now.root))]
        if self._stirred(self.base.root, now.root):
            plan.touched[b""] = now.root
        while waiting:
            path, fresh, stirred = waiting.pop()
            waiting.extend(self._plan_directory(plan, now, path, fresh=fresh, stirred=stirred))
        return plan

    def _plan_directory(
        self, plan: Plan, now: Survey, path: bytes, *, fresh: bool, stirred: bool
    ) -> Iterator[tuple[bytes, bool, bool]]:
        entries = now.directories.get(path, {})
        claims: Mapping[bytes, Seen | None] = {} if fresh else self.claims.get(path, {})
        plan.removed.extend((path, name) for name in claims.keys() - entries.keys())
        copied: Entries = {}
        for name, seen in entries.items():
            claim = claims.get(name)
            place = below(path, name)
            if seen.is_directory:
                moved = self._stirred(claim, seen)
                stays = claim is not None and _same_directory(claim, seen) and not (moved and stirred)
                if not stays:
                    plan.made.append((path, name, seen))
                elif moved:
                    plan.touched[place] = seen
                yield place, not stays, moved
            else:
                stays = claim == seen and not self.base.is_young(seen)
                if not stays:
                    copied[name] = seen
            if not stays and name in claims:
                plan.removed.append((path, name))
        if copied:
            plan.copied[path] = copied

    def _stirred(self, then: Seen | None, now: Seen) -> bool:
        """Whether a directory was moved, or an entry of it was, or an attribute of it was changed."""
        return then is None or then.ctime_ns != now.ctime_ns or self.base.is_young(then)


def _claim(was: Seen | None, copy: Seen) -> Seen | None:
    if was is None or stat.S_IFMT(copy.mode) != stat.S_IFMT(was.mode):
        return None
    if was.is_directory:
        # Its mode, owner and attributes are the source's at another moment, or are set at the end.
        return was if _looks(was) == _looks(copy) else was._replace(ctime_ns=0)
    return was if _looks(was) == _looks(copy) else None


def _looks(seen: Seen) -> tuple[object, ...]:
    times = 0 if seen.is_directory else seen.mtime_ns
    return seen.mode, seen.uid, seen.gid, seen.size, times, seen.target, seen.xattrs


def _same_directory(one: Seen, other: Seen) -> bool:
    return one.is_directory and (one.dev, one.ino) == (other.dev, other.ino)


def parent_of(path: bytes) -> tuple[bytes, bytes]:
    """The directory that holds the path, and its name there; the root is `.` of itself."""
    parent, _, name = path.rpartition(b"/")
    return parent, name or b"."


def depth(path: bytes) -> int:
    """How far below the root."""
    return path.count(b"/") + 1 if path else 0
