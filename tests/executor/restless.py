"""An agent that changes its tree at random, and as hard to see as it can: contents of one size, times put back."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from executor.failpoints import PRECOPY_POINTS
from executor.survey import YOUNG_NS
from tests.executor.trees import WHEN

SIZE = 64
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_LIBC = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step."""
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), "renameat2")


POINTS = (*PRECOPY_POINTS, "create.precopied")
"""Between the first look and the clone, after the clone, after what was brought over, right before the freeze."""


def grow_old() -> None:
    """Until nothing was changed so shortly before that it would be doubted for that alone."""
    threading.Event().wait(1.5 * YOUNG_NS / 1e9)


def unwatched(log: pytest.LogCaptureFixture) -> bool:
    """Whether the machine was too busy to see the agent's answer: then a clone in the freeze is right, too."""
    told = ("nobody could watch", "did not answer through this mount")
    return any(reason in record.getMessage() for record in log.records for reason in told)


def put_back(path: Path) -> None:
    os.utime(path, ns=(WHEN, WHEN), follow_symlinks=False)


class Restless:
    """Changes a tree by the dice of its seed. `attributes`: extended ones too."""

    def __init__(self, root: Path, seed: int, *, attributes: bool) -> None:
        self.root = root
        self.dice = random.Random(seed)
        self._later: list[Callable[[], None]] = []
        self._numbers = iter(range(10**9))
        self._changes: list[Callable[[], None]] = [self.overwrite, self.append, self.truncate, self.replace]
        self._changes += [self.rename_over, self.create, self.remove, self.move_directory, self.swap]
        self._changes += [self.swap_for_a_while] * 3 + [self.overwrite] * 2
        self._changes += [self.file_to_directory, self.directory_to_file, self.hard_link, self.soft_link]
        self._changes += [self.retarget, self.mode, self.make_directory, self.pipe]
        if os.geteuid() == 0:
            self._changes.append(self.owner)
        if attributes:
            self._changes += [self.attribute, self.attribute]

    def plant(self) -> None:
        """Pairs of directories with the same names in them, of equal sizes and times, and other contents."""
        for top in ("a", "b"):
            for middle in ("x", "y"):
                directory = self.root / top / middle
                directory.mkdir(parents=True)
                for name in ("one", "two", "three"):
                    self._fill(directory / name)
                (directory / "link").symlink_to("one")
                put_back(directory / "link")

    def change(self, times: int) -> None:
        """So many changes, whatever of them is possible."""
        for _ in range(times):
            with suppress(OSError):
                self.dice.choice(self._changes)()

    def stir(self, times: int) -> None:
        """An end to what was swapped for a while at an earlier moment, then new changes."""
        self._settle()
        self.change(times)

    def _settle(self) -> None:
        """What was swapped for a while is swapped back."""
        later, self._later = self._later, []
        for back in reversed(later):
            with suppress(OSError):
                back()

    def overwrite(self) -> None:
        path = self._file()
        with path.open("r+b") as file:
            file.write(self.dice.randbytes(min(SIZE, path.stat().st_size)))
        put_back(path)

    def append(self) -> None:
        with self._file().open("ab") as file:
            file.write(self.dice.randbytes(8))

    def truncate(self) -> None:
        os.truncate(self._file(), self.dice.choice([0, 8, SIZE]))

    def replace(self) -> None:
        path = self._file()
        fresh = self._new(path.parent)
        self._fill(fresh)
        fresh.rename(path)

    def rename_over(self) -> None:
        self._file().rename(self._file())

    def create(self) -> None:
        self._fill(self._new(self._directory()))

    def remove(self) -> None:
        self._file().unlink()

    def move_directory(self) -> None:
        self._directory(below=True).rename(self._new(self._directory()))

    def swap(self) -> None:
        exchange(self._directory(below=True), self._directory(below=True))

    def swap_for_a_while(self) -> None:
        one, other = self._directory(below=True), self._directory(below=True)
        exchange(one, other)
        self._later.append(lambda: exchange(one, other))

    def file_to_directory(self) -> None:
        path = self._file()
        path.unlink()
        path.mkdir()
        self._fill(path / "inside")

    def directory_to_file(self) -> None:
        path = self._directory(below=True)
        shutil.rmtree(path)
        self._fill(path)

    def hard_link(self) -> None:
        self._new(self._directory()).hardlink_to(self._file())

    def soft_link(self) -> None:
        self._new(self._directory()).symlink_to(self.dice.choice(["one", "two", "/nowhere"]))

    def retarget(self) -> None:
        links = [path for path in self.root.rglob("*") if path.is_symlink()]
        path = self.dice.choice(links or [self.root / "none"])
        path.unlink()
        path.symlink_to(self.dice.choice(["one", "two"]))
        put_back(path)

    def mode(self) -> None:
        path = self.dice.choice([self._file(), self._directory()])
        path.chmod(
            self.dice.choice([0o644, 0o600, 0o755, 0o4755]) if path.is_file() else self.dice.choice([0o755, 0o700])
        )

    def owner(self) -> None:
        path = self.dice.choice([self._file(), self._directory()])
        os.chown(path, self.dice.choice([0, 1234]), self.dice.choice([0, 5678]), follow_symlinks=False)

    def make_directory(self) -> None:
        directory = self._new(self._directory())
        directory.mkdir()
        self._fill(directory / "one")

    def pipe(self) -> None:
        os.mkfifo(self._new(self._directory()))

    def attribute(self) -> None:
        path = self.dice.choice([self._file(), self._directory(below=True)])
        if self.dice.random() < 0.3:
            os.removexattr(path, "user.a")
        else:
            os.setxattr(path, f"user.{self.dice.choice('ab')}", self.dice.randbytes(4))

    def _fill(self, path: Path) -> None:
        path.write_bytes(self.dice.randbytes(SIZE))
        put_back(path)

    def _new(self, directory: Path) -> Path:
        return directory / f"n{next(self._numbers)}"

    def _file(self) -> Path:
        found = sorted(path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        return self.dice.choice(found or [self.root / "none"])

    def _directory(self, *, below: bool = False) -> Path:
        found = sorted(path for path in self.root.rglob("*") if path.is_dir() and not path.is_symlink())
        return self.dice.choice(([] if below else [self.root]) + found or [self.root / "none"])
