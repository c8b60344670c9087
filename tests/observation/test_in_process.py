"""An executor inside the process that calls it: its spans are below the caller's, its lines have the caller's ids."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from observation import tracing
from tests.executor.scene import Site
from tests.observation.recorded import parent_id_of, recorded
from wvs_agent import QuiesceWatcher

pytestmark = pytest.mark.rule("SPEC §11")


@pytest.mark.parametrize("attached", [True, False], ids=["with an agent", "nobody attached"])
def test_a_snapshot_and_a_switch_are_spans_below_whoever_asks(workdir: Path, attached: bool) -> None:
    site = Site(workdir, "copy")
    site.init()
    with recorded() as spans, tracing.span("asks"):
        if attached:
            with QuiesceWatcher(site.ws.root, lambda: None, lambda _: None):
                site.switch_to(site.snapshot())
        else:
            site.switch_to(site.snapshot())
    assert sorted(set(spans.names) - {"asks"}) == ["executor.clone", "executor.quiesce", "executor.switch_current"]
    assert (len(spans.named("executor.clone")), len(spans.named("executor.quiesce"))) == (2, 2)
    asks = spans.the("asks").context
    assert asks is not None
    below = [span for name in set(spans.names) - {"asks"} for span in spans.named(name)]
    assert {parent_id_of(span) for span in below} == {f"{asks.span_id:016x}"}


def test_its_lines_have_the_ids_of_whom_they_serve(workdir: Path) -> None:
    site = Site(workdir, "copy")
    site.init()
    with (
        structlog.contextvars.bound_contextvars(request_id="mine"),
        structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs,
    ):
        site.switch_to(site.snapshot())
    told = [line["event"] for line in logs if line["request_id"] == "mine"]
    assert told == [
        "freeze.began",
        "freeze.ended",
        "snapshot.published",
        "freeze.began",
        "freeze.ended",
        "current.switched",
    ]
