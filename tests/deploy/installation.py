"""compose.yml and the Dockerfile as their own tools and a test read them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from wvs_project.stack.config import SOURCES

COMPOSE: Final = SOURCES / "compose.yml"
DOCKERFILE: Final = SOURCES / "Dockerfile"
PROGRAMS: Final = Path(sys.executable).parent
JOBS: Final = ("migrate",)


def compose(*arguments: str, file: Path = COMPOSE, cwd: Path = SOURCES) -> subprocess.CompletedProcess[str]:
    """`docker-compose`, which needs no engine for what it only reads. Our own environment changes nothing."""
    return subprocess.run(
        [PROGRAMS / "docker-compose", "--project-directory", cwd, "--file", file, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )


@cache
def services() -> dict[str, dict[str, Any]]:
    """Every service, all profiles, as compose understands them."""
    answer = compose("--profile", "ga", "config", "--no-interpolate")
    assert answer.returncode == 0, answer.stderr
    return dict(yaml.safe_load(answer.stdout)["services"])


def environment_of(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in services()[service].get("environment", {}).items()}


def default_of(value: str) -> str:
    """What compose puts in where the operator says nothing: the default of `${NAME:-default}`."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", value)


@dataclass(frozen=True)
class Image:
    """The last stage of a target: what is copied from the sources, and what it starts."""

    copies: tuple[tuple[str, str], ...]
    command: tuple[str, ...]


def images() -> Mapping[str, Image]:
    """By the name of the stage, each with what the stages it is made from bring."""
    stages: dict[str, Image] = {}
    name = ""
    for line in DOCKERFILE.read_text().replace("\\\n", " ").splitlines():
        word, _, rest = line.partition(" ")
        match word:
            case "FROM":
                base, _, name = rest.split()
                stages[name] = stages.get(base, Image((), ()))
            case "COPY" if not rest.startswith("--from"):
                *sources, target = shlex.split(rest)
                more = tuple((source, target) for source in sources)
                stages[name] = Image((*stages[name].copies, *more), stages[name].command)
            case "CMD":
                stages[name] = Image(stages[name].copies, tuple(yaml.safe_load(rest)))
    return stages
