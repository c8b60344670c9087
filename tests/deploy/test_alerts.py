"""Every alert of SPEC §11 is there, fires in its case and not in the healthy one, and leads to a runbook."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import RULES
from wvs_project.stack.config import SOURCES

TESTS = RULES.parent / "tests"
RUNBOOKS = SOURCES / "docs" / "runbooks"
ALERTMANAGER = SOURCES / "deploy" / "alertmanager" / "alertmanager.yml"
# What SPEC §11 says of each: for how long, and which are critical.
SPECIFIED = {
    "WVSApiHighErrorRate": ("> 0.02", "5m", None),
    "WVSApiDown": ("", "2m", "critical"),
    "WVSTaskQueueBacklog": ("> 100", "10m", "critical"),
    "WVSTaskHighFailRate": ("> 0.05", "10m", None),
    "WVSExecutorDown": ("", "2m", "critical"),
    "WVSSetCurrentP95High": ("> 10", "10m", None),
    "WVSQuiesceTimeoutHigh": ("> 0.1", "10m", None),
    "JuiceFSMountDown": ("", "5m", "critical"),
    "WVSDeadTasks": ("", None, None),
    "WVSTaskRescues": ("", None, None),
    "WVSDrift": ("", None, None),
    "WVSStandstillP95High": ("", None, None),
    "WVSStaleResumes": ("", None, None),
    "JuiceFSObjectLatencyHigh": ("> 1", None, None),
    "JuiceFSFuseLatencyHigh": ("> 0.5", None, None),
    "JuiceFSTransactionLatencyHigh": ("> 0.2", None, None),
    "JuiceFSInodesGrowing": ("", None, None),
}
HEADINGS = ("## What it means", "## What users feel", "## How to look", "## What to do", "## When it ends")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def runbook_of(alert: str) -> Path:
    return SOURCES / str(ALERTS[alert]["annotations"]["runbook_url"])


@pytest.mark.parametrize("alert", SPECIFIED)
def test_an_alert_of_the_specification_has_its_threshold_its_time_and_its_severity(alert: str) -> None:
    threshold, lasting, severity = SPECIFIED[alert]
    assert ALERTS[alert]["expr"].endswith(threshold)
    assert lasting is None or ALERTS[alert]["for"] == lasting
    assert severity is None or ALERTS[alert]["labels"]["severity"] == severity


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_how_grave_it_is_and_where_help_is(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert runbook_of(alert).is_file()


def test_the_share_of_tasks_that_succeed_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert recorded == {f"wvs:task_success:ratio_{window}" for window in ("5m", "1h", "30d")}


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.name for path in RUNBOOKS.glob("*.md")} == {runbook_of(alert).name for alert in ALERTS}


@pytest.mark.parametrize("alert", [alert for alert in ALERTS if runbook_of(alert).stem == alert])
def test_a_runbook_answers_what_an_operator_asks(alert: str) -> None:
    text = runbook_of(alert).read_text()
    assert [heading for heading in HEADINGS if f"\n{heading}\n" not in text] == []


def test_every_alert_has_its_test() -> None:
    assert {path.stem for path in TESTS.iterdir()} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_a_test_sees_it_fire_and_sees_it_silent(alert: str) -> None:
    cases = yaml.safe_load((TESTS / f"{alert}.yml").read_text())["tests"]
    seen = {
        bool(asked["exp_samples"]) for case in cases for asked in case["promql_expr_test"] if alert in asked["expr"]
    }
    assert seen == {True, False}


@pytest.mark.prometheus
def test_promtool_accepts_the_rules_and_each_alert_fires_in_its_case_alone() -> None:
    for arguments in (["check", "rules", str(RULES)], ["test", "rules", *map(str, sorted(TESTS.iterdir()))]):
        answer = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.prometheus
def test_alertmanager_accepts_its_configuration_and_tells_operators_of_everything() -> None:
    for arguments in (
        ["check-config", str(ALERTMANAGER)],
        ["config", "routes", "test", f"--config.file={ALERTMANAGER}"],
    ):
        answer = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.strip() == "operators"


def test_no_alert_is_silenced_by_one_that_is_not_there() -> None:
    inhibited = yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
    matchers = [matcher for rule in inhibited for side in rule.values() for matcher in side]
    names = {name for matcher in matchers for name in matcher.split('"')[1].split("|")}
    assert names - set(ALERTS) == set()
