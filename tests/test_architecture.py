"""The arrows and habits that no type checker sees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("executor", "observation", "snapshots", "tasks", "workspaces", "wvs_agent", "wvs_project", "wvsctl")
SOURCES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "migrations" not in path.parts
)
# Where Django is told of its settings, before any of our configuration can be read.
DJANGO_ENTRIES = {ROOT / "manage.py", ROOT / "wvs_project" / "wsgi.py"}
NAMELESS = {"utils", "util", "common", "helpers", "helper", "misc"}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports_in(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))


def top_level_names(tree: ast.AST) -> set[str]:
    """The packages a module imports, relative imports aside."""
    names: set[str] = set()
    for node in imports_in(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def places(nodes: list[ast.AST], path: Path) -> list[str]:
    return [f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}" for node in nodes]


def test_modules_import_only_along_the_arrows() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    answer = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_only_a_config_module_reads_the_environment() -> None:
    found: list[str] = []
    for path in SOURCES:
        if path.name == "config.py" or path in DJANGO_ENTRIES:
            continue
        readers = [
            node
            for node in ast.walk(tree_of(path))
            if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"})
            or (isinstance(node, ast.ImportFrom) and node.module == "os" and names_of(node) & {"environ", "getenv"})
        ]
        found += places([node for node in readers if not is_of_another_process(node)], path)
    assert found == []


def names_of(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def is_of_another_process(node: ast.AST) -> bool:
    """`process.environ()` of psutil reads somebody else's environment."""
    return isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "os")


def test_every_module_is_named_for_its_subject() -> None:
    assert [str(path.relative_to(ROOT)) for path in SOURCES if NAMELESS & {path.stem, path.parent.name}] == []


def test_no_function_imports() -> None:
    found: list[str] = []
    for path in SOURCES:
        functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        found += [place for function in functions for place in places(list(imports_in(function)), path)]
    assert found == []


def test_the_agents_side_needs_nothing_but_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"wvs_agent"}
    modules = [path for path in SOURCES if path.is_relative_to(ROOT / "wvs_agent")]
    assert {path.name: names for path in modules if (names := top_level_names(tree_of(path)) - allowed)} == {}


@pytest.mark.parametrize("package", ["tasks", "workspaces", "snapshots"])
def test_below_the_api_nobody_speaks_http(package: str) -> None:
    below = [path for path in SOURCES if path.is_relative_to(ROOT / package) and "api" not in path.parts]
    assert [path.name for path in below if "rest_framework" in top_level_names(tree_of(path))] == []
