"""What traces cost while they are off, what turns them on, and what a span says of a failure (SPEC §11)."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from environs import FileAwareEnv

from executor.contract import ExecutorFault, FaultReason
from observation import tracing
from observation.config import traces_exporter
from tests.observation.recorded import PARENT, TRACE, failure_of, parent_id_of, recorded, trace_of, traceparent_of

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.rule("SPEC §11")


@pytest.mark.parametrize(
    ("process", "forbidden"),
    [
        ("executor.__main__", "opentelemetry"),
        # Redis's client looks for OpenTelemetry's metrics, and so loads those, wherever they are installed.
        ("wvs_project.wsgi, tasks.worker, tasks.scheduler", ("opentelemetry.sdk.trace", "opentelemetry.exporter")),
    ],
)
def test_while_they_are_off_nothing_that_traces_is_loaded(process: str, forbidden: str | tuple[str, ...]) -> None:
    program = (
        f"import sys, {process}\n"
        "from observation import tracing\n"
        "tracing.start('none', 'wvs-test')\n"
        "with tracing.span('any', parent='x') as span: span.note({})\n"
        "print(*sys.modules)\n"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in loaded.stdout.split() if name.startswith(forbidden)] == []


def test_while_they_are_off_every_span_is_the_same_object_that_does_nothing() -> None:
    assert tracing.span("one") is tracing.span("two", {"a": 1}, parent=PARENT, begun_at=1)
    assert tracing.traceparent() == ""


@pytest.mark.parametrize(
    ("settings", "exporter"),
    [
        ({}, "none"),
        ({"OTEL_TRACES_EXPORTER": ""}, "none"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "otlp"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, "none"),
    ],
)
def test_the_standard_variables_turn_them_on(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], exporter: str
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert traces_exporter(FileAwareEnv()) == exporter


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_a_protocol_that_we_do_not_speak_stops_the_start_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(name, "grpc")
    with pytest.raises(ValueError, match=name):
        traces_exporter(FileAwareEnv())


def test_an_exporter_that_nobody_knows_stops_the_start_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(ValueError, match="OTEL_TRACES_EXPORTER=zipkin"):
        traces_exporter(FileAwareEnv())


def test_the_console_gets_one_line_of_json_for_each_span(capsys: pytest.CaptureFixture[str]) -> None:
    tracing.start("console", "wvs-test")
    with tracing.span("one"):
        pass
    tracing.stop()
    [line] = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["name"], said["resource"]["attributes"]["service.name"]) == ("one", "wvs-test")


def test_a_service_name_that_is_given_is_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    tracing.start("console", "wvs-test")
    with tracing.span("one"):
        pass
    tracing.stop()
    assert json.loads(capsys.readouterr().out)["resource"]["attributes"]["service.name"] == "mine"


def test_a_collector_that_hangs_holds_up_no_end_of_a_process() -> None:
    program = (
        "from observation import otel, tracing\n"
        "otel.END_SECONDS = 0.1\n"
        "tracing.start('otlp', 'wvs-test')\n"
        "with tracing.span('one'): pass\n"
        "tracing.stop()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as nobody_answers:
        url = f"http://127.0.0.1:{nobody_answers.getsockname()[1]}"
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "60", "NO_PROXY": "127.0.0.1"}
        ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=settings, check=False, timeout=20)
    assert ended.returncode == 0


def test_a_span_is_below_the_one_that_is_given_and_above_what_is_begun_in_it() -> None:
    with recorded() as spans:
        with tracing.span("outer", parent=PARENT):
            with tracing.span("inner"):
                said = tracing.traceparent()
            tracing.past("before", begun_at=1, ended_at=2)
        assert tracing.traceparent() == ""
    outer, inner, before = (spans.the(name) for name in ("outer", "inner", "before"))
    assert {trace_of(span) for span in (outer, inner, before)} == {TRACE}
    assert parent_id_of(outer) in PARENT
    assert parent_id_of(inner) == parent_id_of(before) != parent_id_of(outer)
    assert said == traceparent_of(inner)
    assert (before.start_time, before.end_time) == (1, 2)


def test_what_another_process_continues_is_below_its_span() -> None:
    with recorded() as spans, tracing.continued(PARENT), tracing.span("there"):
        pass
    assert trace_of(spans.the("there")) == TRACE
    assert parent_id_of(spans.the("there")) in PARENT


def test_a_failure_says_its_reason_and_no_more_for_a_traceback_may_hold_a_secret() -> None:
    with recorded() as spans:
        with pytest.raises(ExecutorFault), tracing.span("refused"):
            raise ExecutorFault(FaultReason.NO_SPACE, "postgresql://wvs:hunter2@db/wvs")
        with pytest.raises(KeyError), tracing.span("crashed"):
            raise KeyError("hunter2")
    assert (failure_of(spans.the("refused")), failure_of(spans.the("crashed"))) == ("NO_SPACE", "KeyError")
    assert [spans.the(name).events for name in ("refused", "crashed")] == [(), ()]
