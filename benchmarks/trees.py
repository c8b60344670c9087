"""The trees that benchmarks clone, and the bare command that they are compared with."""

from __future__ import annotations

import itertools
import subprocess
import time
import uuid
from pathlib import Path

from wvs_project.stack.juicefs import juicefs_program

PER_DIRECTORY = 20


def plant(root: Path, entries: int) -> list[Path]:
    """That many entries: directories of twenty, with files of a few bytes. The answer is the files."""
    files: list[Path] = []
    for number in itertools.count():
        if len(files) + number >= entries:
            return files
        directory = root / f"d{number // 50:03}" / f"{number:05}" if number % 50 else root / f"d{number // 50:03}"
        directory.mkdir(parents=True, exist_ok=True)
        for index in range(min(PER_DIRECTORY, entries - len(files) - number - 1)):
            files.append(directory / f"file-{index:02}")
            files[-1].write_bytes(b"%d/%d\n" % (number, index))
    raise AssertionError


def bare_clone(source: Path, aside: Path, *options: str) -> float:
    """Seconds of `juicefs clone -p` into a new name below `aside`, which is removed again."""
    copy = aside / uuid.uuid4().hex
    began = time.monotonic()
    clone_to(source, copy, *options)
    took = time.monotonic() - began
    remove(copy)
    return took


def clone_to(source: Path, copy: Path, *options: str) -> None:
    """`juicefs clone -p`."""
    subprocess.run([juicefs_program(), "clone", "-p", *options, source, copy], check=True, capture_output=True)


def remove(tree: Path) -> None:
    """At once, past the trash."""
    subprocess.run([juicefs_program(), "rmr", "--skip-trash", tree], check=True, capture_output=True)
