"""`python -m wvs_project.stack up|down|demo|smoke-test|metrics|status`."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich.console import Console

from wvs_project.stack.config import SOURCES, StackConfig, read_stack_config
from wvs_project.stack.envfile import read_env_file
from wvs_project.stack.errors import StackError
from wvs_project.stack.leftovers import clear_leftovers
from wvs_project.stack.lock import is_running, running_pid, stack_lock
from wvs_project.stack.postgres import data_directory
from wvs_project.stack.servers import Layout
from wvs_project.stack.stack import Stack, running_stack
from wvs_project.stack.stopping import StopAsked, StopSignals, stop_signals
from wvs_project.stack.waiting import wait_until

_DOWN_SECONDS: Final = 120.0
_SHOWN_AT: Final = "WVS_METRICS_URL_"
_console = Console(highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    _console.print(f"[dim]\\[stack][/dim] {text}")


def up(config: StackConfig, signals: StopSignals) -> int:
    """Run in the foreground until Ctrl-C or SIGTERM."""
    with running_stack(config, _say, signals) as stack:
        _welcome(stack)
        stack.watch()
    return 0


def _welcome(stack: Stack) -> None:
    environment, env_file = stack.environment, _shown(stack.layout.env_file)
    _say("ready")
    _console.print(f"""
  API           {environment["WVS_API_URL"]}/v1/
  metrics       {environment["WVS_METRICS_URL"]}/metrics
  workspaces    {environment["EXECUTOR_MOUNT_PATH"]}
  logs          {_shown(stack.layout.state)}/log/

  In another terminal:
    set -a; . {env_file}; set +a
    curl -s "$WVS_API_URL/v1/workspaces"
  Ctrl-C or `make down` stops it.
""")


def _shown(path: Path) -> Path:
    """As short as it can be typed here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def down(config: StackConfig, signals: StopSignals) -> int:
    """Stop a running stack, or clear what a crashed one left."""
    layout = Layout(config.state)
    if not is_running(config.state):
        if not config.state.exists():
            _say(f"nothing runs on {config.state}")
            return 0
        with stack_lock(config.state):
            data = data_directory(config.state)
            found = clear_leftovers(layout.mark, postgres_data=data, mounts=layout.mountpoints())
            layout.env_file.unlink(missing_ok=True)
        _say(f"a crashed stack left {', '.join(found)}: cleared" if found else f"nothing runs on {config.state}")
        return 0
    pid = running_pid(config.state)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(config.state), limit=_DOWN_SECONDS, what=f"the stack (pid {pid}) does not stop")
    _say("stopped")
    return 0


def status(config: StackConfig, signals: StopSignals) -> int:
    """Say whether the stack runs and where; exit code 3 when it does not."""
    environment = read_env_file(Layout(config.state).env_file)
    if not is_running(config.state) or not environment:
        _say(f"no stack is ready on {config.state}")
        return 3
    for name in ("WVS_API_URL", "EXECUTOR_MOUNT_PATH"):
        _console.print(f"{name}={environment[name]}")
    for name, url in environment.items():
        if name.startswith(_SHOWN_AT):
            _console.print(f"{name}={url}/metrics")
    return 0


def demo(config: StackConfig, signals: StopSignals) -> int:
    """Show the main job: on the running stack if there is one, else on one of its own that is stopped at the end."""
    return _on_a_stack(config, signals, _demo_of)


def _demo_of(environment: Mapping[str, str]) -> list[str]:
    api, mount = environment["WVS_API_URL"], environment["EXECUTOR_MOUNT_PATH"]
    return [sys.executable, "-m", "scripts.demo", "--api-url", api, "--mount", mount]


def smoke_test(config: StackConfig, signals: StopSignals) -> int:
    """The same with the smoke test, which needs nothing but the addresses."""
    return _on_a_stack(config, signals, lambda environment: ["bash", "scripts/smoke-test.sh"])


def metrics(config: StackConfig, signals: StopSignals) -> int:
    """Every metric with its value: of the running stack, else of one of its own after the demonstration."""
    return _on_a_stack(config, signals, lambda environment: [sys.executable, "-m", "scripts.metrics"], first=_demo_of)


_Command = Callable[[Mapping[str, str]], list[str]]


def _on_a_stack(config: StackConfig, signals: StopSignals, command: _Command, first: _Command | None = None) -> int:
    """Its exit code: on the running stack if there is one, else on one of its own that is stopped at the end.

    `first` is run before it on a stack of its own, on which nothing has happened yet.
    """
    environment = read_env_file(Layout(config.state).env_file)
    if is_running(config.state) and environment:
        _say(f"using the stack that runs on {_shown(config.state)}")
        return _run(command(environment), config, environment)
    begun = time.monotonic()
    with running_stack(config, _say, signals) as stack:
        _say(f"ready in {time.monotonic() - begun:.1f} s")
        environment = read_env_file(stack.layout.env_file)
        failed = _run(first(environment), config, environment) if first else 0
        return failed or _run(command(environment), config, environment)


def _run(command: list[str], config: StackConfig, environment: Mapping[str, str]) -> int:
    addresses = {name: url for name, url in environment.items() if name.startswith(("WVS_API_URL", "WVS_METRICS_URL"))}
    given = {**config.environment, **addresses, "WVSCTL": f"{sys.executable} -m wvsctl"}
    process = subprocess.Popen(command, cwd=SOURCES, env=given)
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


_COMMANDS: Final = {
    "up": up,
    "down": down,
    "demo": demo,
    "smoke-test": smoke_test,
    "metrics": metrics,
    "status": status,
}


def main() -> int:
    """Run one command. Exit codes: 0 done, 1 refused or failed, 130 stopped by a signal before it was done."""
    parser = argparse.ArgumentParser(prog="python -m wvs_project.stack", description=__doc__)
    parser.add_argument("command", choices=_COMMANDS)
    command = parser.parse_args().command
    # A connection that a signal interrupts is said to be unusual, at length; to us it is not.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    with stop_signals() as signals:
        try:
            return _COMMANDS[command](read_stack_config(), signals)
        except StackError as error:
            _console.print(f"[red]{command} failed:[/red] ", end="")
            _console.print(str(error), markup=False)
            return 1
        except StopAsked:
            return 0 if command == "up" else 130


if __name__ == "__main__":
    sys.exit(main())
