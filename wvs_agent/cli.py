"""The command `wvs-agent`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from wvs_agent import config, conformance, conformance_checks, logs, status
from wvs_agent.config import FREEZER_VARIABLE, FreezerKind
from wvs_agent.conformance import Finding, NotExaminedError, Verdict
from wvs_agent.files import UnsafeFileError
from wvs_agent.options import NotUsableError, OnSwitch, RunOptions
from wvs_agent.run import Run
from wvs_agent.watcher import AttachTimeoutError

OWN_FAILURE: Final = 125
"""Exit code of `run` when the command was not started, or not watched to its end."""
USAGE: Final = 2

_RUN_TEXT: Final = """\
Runs COMMAND in DIR/current as the workspace's agent and freezes it, with everything it has started, whenever a snapshot
or a switch asks for it. The command needs no change.

What COMMAND leaves running when it ends is ended too. Exit code: the command's, 128 and the signal's number if a signal
ended it, 126 or 127 if it cannot be started, 125 if wvs-agent itself failed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code. Raises SystemExit for wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        logs.configure(config.log_level(), config.log_format(), Path(os.path.realpath(options.workspace)).name)
    except ValueError as error:
        sys.stderr.write(f"wvs-agent: {error}\n")
        return USAGE
    code: int = options.call(options, parser)
    return code


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    argv = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not argv:
        parser.error("run: no COMMAND given after --")
    try:
        chosen = RunOptions(
            workspace=options.workspace,
            argv=tuple(argv),
            on_switch=options.on_switch,
            switch_signal=options.signal,
            grace=options.grace,
            freezer=options.freezer or config.freezer_kind(),
            attach_timeout=options.attach_timeout,
        )
        return Run(chosen).run()
    except (OSError, ValueError, AttachTimeoutError, UnsafeFileError, NotUsableError) as error:
        sys.stderr.write(f"wvs-agent: {error}\n")
        return OWN_FAILURE


def _status(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    try:
        seen = status.look(options.workspace)
    except OSError as error:
        sys.stderr.write(f"wvs-agent: no workspace: {error}\n")
        return USAGE
    sys.stdout.write(json.dumps(seen.document()) + "\n" if options.json else "\n".join(seen.lines()) + "\n")
    return 0 if seen.attached else 1


def _conformance(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    root = Path(os.path.realpath(options.workspace))
    findings: list[Finding] = []
    try:
        if options.init:
            conformance.make_scratch(root)
        with conformance.examined(root, timeout=options.timeout, lease=options.lease) as bench:
            conformance.await_attached(bench, options.wait)
            for finding in conformance_checks.examine(bench):
                findings.append(finding)
                if not options.json:
                    sys.stdout.write(f"{finding.verdict:8} {finding.name}: {finding.detail}\n")
                    sys.stdout.flush()
    except (OSError, UnsafeFileError, NotExaminedError) as error:
        sys.stderr.write(f"wvs-agent: not examined: {error}\n")
        return USAGE
    if options.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(finding) for finding in findings]) + "\n")
    return 1 if any(finding.verdict is Verdict.FAILED for finding in findings) else 0


def _signal(text: str) -> signal.Signals:
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    try:
        return signal.Signals(int(text)) if text.isdecimal() else signal.Signals[name]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is no signal") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wvs-agent",
        description="The agent's side of WVS: stand still while the workspace is snapshotted or switched.",
    )
    parser.add_argument("--version", action="version", version=f"wvs-agent {_version()}")
    kinds = parser.add_subparsers(required=True, metavar="run | status | conformance")
    _add_run(kinds)
    _add_status(kinds)
    _add_conformance(kinds)
    return parser


def _add_run(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = kinds.add_parser(
        "run",
        help="run a command as the agent of a workspace",
        description=_RUN_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_workspace(run)
    run.add_argument(
        "--on-switch",
        type=OnSwitch,
        choices=list(OnSwitch),
        default=OnSwitch.RESTART,
        help="after a switch: start COMMAND again in the new tree (default), send it --signal, or refuse the switch",
    )
    run.add_argument("--signal", type=_signal, default=signal.SIGHUP, metavar="NAME", help="default: HUP")
    run.add_argument("--grace", type=_seconds, default=10.0, metavar="SECONDS", help="from SIGTERM to SIGKILL: 10")
    run.add_argument(
        "--freezer",
        type=FreezerKind,
        choices=list(FreezerKind),
        help=f"how to stop it: cgroup v2, SIGSTOP, or what there is (default: {FREEZER_VARIABLE}, or auto)",
    )
    run.add_argument("--attach-timeout", type=_seconds, default=60.0, metavar="SECONDS", help="default: 60")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND…", help="what to run")
    run.set_defaults(call=_run)


def _add_status(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "say who is attached to a workspace, and what both sides said last"
    codes = "Exit code: 0 somebody is attached, 1 nobody is, 2 this is no workspace."
    shown = kinds.add_parser("status", help=text, description=f"{text.capitalize()}. {codes}")
    _add_workspace(shown)
    shown.add_argument("--json", action="store_true", help="as one JSON object")
    shown.set_defaults(call=_status)


def _add_conformance(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "check an agent, of whatever make, by playing the executor against it"
    codes = "Exit code: 0 all is well, 1 a check failed, 2 it was not examined."
    check = kinds.add_parser("conformance", help=text, description=f"{text.capitalize()}. {codes}")
    _add_workspace(check)
    check.add_argument(
        "--init", action="store_true", help="first make DIR, a scratch workspace; switches are tried too"
    )
    check.add_argument("--wait", type=_seconds, default=30.0, metavar="SECONDS", help="for an agent to attach: 30")
    check.add_argument("--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="for each answer: 30")
    check.add_argument("--lease", type=_seconds, default=10.0, metavar="SECONDS", help="of each freeze: 10")
    check.add_argument("--json", action="store_true", help="as one JSON list")
    check.set_defaults(call=_conformance)


def _add_workspace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workspace", type=Path, required=True, metavar="DIR", help="the directory with `current` in it"
    )


def _version() -> str:
    try:
        return importlib.metadata.version("wvs-agent")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"
