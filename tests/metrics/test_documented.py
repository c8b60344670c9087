"""The page, the specification and the processes tell of the same metrics (SPEC §11)."""

from __future__ import annotations

import pytest

from scripts.metrics import PAGE, documented
from tests.metrics.exported import exported

pytestmark = pytest.mark.rule("§11")

# SPEC §11, word for word: a name, and its labels.
SPECIFIED = """
http_requests_total{route,method,code} http_request_duration_seconds{route,method} active_requests
task_total{op,status} task_duration_seconds{op} task_wait_seconds{op} task_queue_depth task_retry_total{op}
lock_wait_seconds dequeue_empty_total task_rescued_total{reason} workspace_state_transitions_total{from,to}
clone_duration_seconds{op} clone_entries_total{op} clone_fail_total{reason} quiesce_wait_seconds
quiesce_timeout_total freeze_seconds switch_duration_seconds executor_active_tasks drift_total{kind}
"""


def test_the_page_tells_of_what_is_exported_and_of_nothing_else() -> None:
    assert sorted(documented(PAGE.read_text()), key=lambda one: one.name) == exported()


def test_every_metric_of_the_specification_is_exported_with_its_labels() -> None:
    found = {one.name: one.labels for one in exported()}
    for word in SPECIFIED.split():
        name, _, labels = word.removesuffix("}").partition("{")
        assert found[f"wvs_{name}"] == frozenset(filter(None, labels.split(","))), name


def test_a_times_unit_is_in_its_name_and_a_counter_says_that_it_is_one() -> None:
    for one in exported():
        assert one.name.endswith("_total") == (one.type == "counter"), one
        assert one.type != "histogram" or one.name.endswith("_seconds"), one
