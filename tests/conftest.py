"""What every test gets, and what this machine lets us test: said aloud, counted, and required in CI."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from executor import failpoints
from executor.contract import StopSignal
from wvs_project.stack.juicefs import why_no_fuse

NEEDS = ("fuse", "root", "browser", "prometheus", "victoria")
REQUIRED_IN_CI = ("fuse", "root")
# What a need's tests start, from Debian's packages; `make test` installs none of it.
PROGRAMS = {
    "browser": ("chromium",),
    "prometheus": ("promtool", "amtool"),
    "victoria": ("victoria-metrics", "vmagent", "vmalert", "vmauth"),
}
_DESELECTED = pytest.StashKey[dict[str, int]]()


def _missing() -> dict[str, str]:
    """The needs that this machine does not meet, with the reason."""
    reasons = {"fuse": why_no_fuse(), "root": None if os.geteuid() == 0 else f"uid is {os.geteuid()}, not 0"}
    for need, programs in PROGRAMS.items():
        absent = [program for program in programs if not shutil.which(program)]
        reasons[need] = f"no {', '.join(absent)} on the PATH" if absent else None
    return {need: reason for need, reason in reasons.items() if reason}


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    """A signal that nobody has given yet."""
    signal = StopSignal()
    yield signal
    signal.close()


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    """No test meets what another one has armed."""
    yield
    failpoints.disarm_all()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_DESELECTED] = {}
    missing = {need: reason for need, reason in _missing().items() if need in REQUIRED_IN_CI}
    if missing and os.environ.get("WVS_REQUIRE_FUSE") == "1":
        said = "; ".join(f"{need}: {reason}" for need, reason in missing.items())
        raise pytest.UsageError(f"WVS_REQUIRE_FUSE=1 and yet {said}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    counts = config.stash[_DESELECTED]
    for need in _missing():
        dropped = [item for item in items if item.get_closest_marker(need)]
        if dropped:
            counts[need] = len(dropped)
            config.hook.pytest_deselected(items=dropped)
            items[:] = [item for item in items if item not in dropped]
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output["wvs_deselected"] = counts


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of xdist is done: every worker collects the same tests, so any one's count is the run's."""
    output: Mapping[str, Any] = getattr(node, "workeroutput", {})
    node.config.stash[_DESELECTED].update(output.get("wvs_deselected", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    missing = _missing()
    for need, count in config.stash[_DESELECTED].items():
        reason = missing.get(need, "")
        terminalreporter.write_line(f"{count} tests need {need.upper()} and were deselected ({reason})", yellow=True)
