"""The images hold all that they start needs, and the executor's nothing of the control plane (SPEC §1, §11).

No engine runs here: a target's COPY lines are carried out by hand, and its program is started in what they make.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.installation import DOCKERFILE, PROGRAMS, images, services
from wvs_project.stack.config import SOURCES

SETTINGS = {
    "WVS_DB_DSN": "postgresql://nobody@127.0.0.1:1/none",
    "WVS_REDIS_URL": "redis://127.0.0.1:1/0",
    "WVS_SECRET_KEY": "x" * 50,
    "EXECUTOR_ADDRS": "127.0.0.1:1",
}


def tree_of(image: str, root: Path) -> Path:
    """The image's working directory: what `.dockerignore` lets through of what the Dockerfile copies."""
    leave = shutil.ignore_patterns("__pycache__", "*.pyc", "stack")
    for source, target in images()[image].copies:
        place = root / target
        if (SOURCES / source).is_dir():
            shutil.copytree(SOURCES / source, place, ignore=leave)
        else:
            shutil.copy(SOURCES / source, place / Path(source).name if target.endswith("/") else place)
    return root


def run(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={"PATH": str(PROGRAMS), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("image", "arguments"),
    [
        ("api", ["-m", "gunicorn", "--check-config", "-c", "wvs_project/gunicorn_conf.py"]),
        ("api", ["manage.py", "migrate", "--help"]),
        ("worker", ["manage.py", "run_worker", "--help"]),
        ("worker", ["manage.py", "run_scheduler", "--help"]),
    ],
)
def test_the_control_planes_images_hold_all_that_they_start(image: str, arguments: list[str], tmp_path: Path) -> None:
    answer = run(tree_of(image, tmp_path), *arguments, **SETTINGS)
    assert answer.returncode == 0, answer.stderr


def test_the_executors_image_holds_all_that_it_starts_and_nothing_of_the_control_plane(tmp_path: Path) -> None:
    tree = tree_of("executor", tmp_path)
    answer = run(tree, "-m", "executor", EXECUTOR_MOUNT_PATH="relative")
    assert answer.returncode == 2, answer.stderr
    assert "EXECUTOR_MOUNT_PATH" in answer.stderr
    assert not {"django", "psycopg", "redis"} & imported_by(tree)
    assert not any((tree / room).exists() for room in ("tasks", "workspaces", "snapshots", "manage.py"))


@pytest.mark.parametrize(("image", "listed"), [("api", "requirements.txt"), ("executor", "executor/requirements.txt")])
def test_every_library_that_an_image_imports_is_installed_in_it(image: str, listed: str, tmp_path: Path) -> None:
    brought = {re.split(r"[=<>~\[ ]", line)[0] for line in (SOURCES / listed).read_text().splitlines()}
    brings = importlib.metadata.packages_distributions()
    ours = {"executor", "observation", "snapshots", "tasks", "workspaces", "wvs_agent", "wvs_project"}
    wanted = imported_by(tree_of(image, tmp_path)) - ours - sys.stdlib_module_names
    missing = {name for name in wanted if not {said.lower().replace("_", "-") for said in brings[name]} & brought}
    assert missing == set()


def imported_by(tree: Path) -> set[str]:
    found = set()
    for path in tree.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found


def test_hadolint_finds_nothing() -> None:
    answer = subprocess.run([PROGRAMS / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout


def test_what_is_copied_is_let_through_and_nothing_else_is() -> None:
    through = {line[1:] for line in (SOURCES / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source.partition("/")[0] for image in images().values() for source, _ in image.copies}
    assert copied == through


def test_an_image_runs_under_the_account_that_compose_says() -> None:
    users = re.findall(r"^USER (\d+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert users == [services()["api"]["user"].partition(":")[0]]
