"""Under which account a server runs: PostgreSQL refuses uid 0, so root gives it to nobody."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict


class PopenAccount(TypedDict, total=False):
    """The arguments of Popen that change the account; none of them: stay who we are."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """A uid and gid to run as."""

    uid: int
    gid: int

    def popen_arguments(self) -> PopenAccount:
        """Without supplementary groups: else the child keeps root's."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, path: Path) -> bool:
        """Whether this account may look up names in `path` and in every directory above it, as far as they exist."""
        resolved = path.resolve()
        directories = (directory for directory in (resolved, *resolved.parents) if directory.exists())
        return all(self._may_search(directory.stat()) for directory in directories)

    def _may_search(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def unprivileged_account() -> Account | None:
    """Nobody's account when we are root; None (stay who we are) otherwise."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)
