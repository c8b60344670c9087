"""One JSON object a line, with what is bound, and without secrets (SPEC §11)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from observation.logs import configure_logging
from wvs_project.config import get_config

pytestmark = pytest.mark.rule("SPEC §11")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The process's own logging again, after the test."""
    yield
    configure_logging(get_config().log_level, get_config().log_format)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_says_when_how_grave_what_and_all_that_is_bound(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    bound = {"request_id": "r", "task_id": "t", "wsid": "w", "op": "o", "attempt": 2, "trace_id": "x"}
    with structlog.contextvars.bound_contextvars(**bound):
        structlog.get_logger("any").warning("it.happened", seconds=1.5)
    (line,) = lines(capsys)
    assert list(line)[:3] == ["ts", "level", "event"]
    assert datetime.fromisoformat(line.pop("ts")).utcoffset() is not None
    assert line == {"level": "warning", "event": "it.happened", "seconds": 1.5, **bound}


def test_the_standard_librarys_loggers_speak_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    with structlog.contextvars.bound_contextvars(request_id="r"):
        logging.getLogger("some.library").error("it %s", "broke")
    (line,) = lines(capsys)
    assert (line["level"], line["event"], line["request_id"]) == ("error", "it broke", "r")


@pytest.mark.parametrize("through", ["structlog", "logging"])
def test_a_traceback_stays_on_its_line(capsys: pytest.CaptureFixture[str], through: str) -> None:
    configure_logging("info", "json")
    log: Any = structlog.get_logger("x") if through == "structlog" else logging.getLogger("x")
    try:
        raise ValueError("too bad")
    except ValueError:
        log.exception("it.crashed")
    (line,) = lines(capsys)
    assert "ValueError: too bad" in line["exception"]


def test_what_is_less_grave_than_asked_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "json")
    structlog.get_logger("x").info("not.said")
    logging.getLogger("x").info("not said")
    structlog.get_logger("x").warning("said")
    assert [line["event"] for line in lines(capsys)] == ["said"]


def test_a_second_configuration_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    configure_logging("info", "json")
    structlog.get_logger("x").info("once")
    assert len(lines(capsys)) == 1


def test_people_get_text(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    structlog.get_logger("x").info("it.happened", wsid="w")
    said = capsys.readouterr().err
    assert "it.happened" in said
    assert not said.startswith("{")


def test_without_a_terminal_auto_means_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "auto")
    structlog.get_logger("x").info("it.happened")
    assert lines(capsys)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_ever_written(capsys: pytest.CaptureFixture[str], form: str) -> None:
    configure_logging("info", form)
    log = structlog.get_logger("x")
    log.info("named", password="hunter2", db_dsn="hunter2", settings={"SECRET_KEY": "hunter2", "ok": 1})
    log.info("url postgresql://wvs:hunter2@db:5432/wvs", redis="redis://:hunter2@cache/0")
    log.info("conninfo", text="host=db password=hunter2 dbname=wvs", more="password='hunter2 hunter2'")
    log.info("headers", headers={"Authorization": "Bearer hunter2", "Cookie": "hunter2"})
    log.info("request", raw="GET / HTTP/1.1 Authorization: Bearer hunter2-hunter2", env="MINIO_SECRET_KEY=hunter2")
    log.info("sent", with_="curl -H 'authorization: Basic hunter2'", token="bearer hunter2.hunter2")
    log.info("an object", error=ConnectionError("redis://:hunter2@cache/0"), at=Path("/password=hunter2"))
    logging.getLogger("x").info("connecting to %s", "redis://user:hunter2@cache/0")
    try:
        raise ConnectionError("cannot reach postgresql://wvs:hunter2@db/wvs")
    except ConnectionError:
        log.exception("failed")
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert "***" in said
    assert "db:5432" in said


def test_the_processes_own_secrets_are_struck_out_wherever_they_stand(capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(
        get_config(),
        secret_key="s3cret-of-django",
        db_dsn="host=db user=wvs password='of the database'",
        redis_url="redis://:of%2Fthe%20cache@cache/0",
    )
    configure_logging("info", "json", config.secrets)
    log = structlog.get_logger("x")
    log.info("it says s3cret-of-django", told={"by": ["of the database", "of%2Fthe%20cache"]}, more="of/the cache")
    said = capsys.readouterr().err
    assert [word for word in ("s3cret", "database", "cache") if word in said] == []
    assert said.count("***") == 4


def test_what_stays_is_what_an_operator_follows(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("x").info("task.submitted", idempotency_key="mine", request_id="req-1", code="WVS_GONE", n=1.5)
    (line,) = lines(capsys)
    assert {line[name] for name in ("idempotency_key", "request_id", "code", "n")} == {"mine", "req-1", "WVS_GONE", 1.5}


def test_a_line_is_json_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger("x").info("odd", path=Path("/a"), names={"b"}, keys={1: None}, name="caf\udce9")
    (line,) = lines(capsys)
    assert (line["path"], line["names"], line["keys"]) == ("/a", ["b"], {"1": None})
