"""`python -m benchmarks`, without measuring anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks import __main__ as command
from benchmarks.catalog import Benchmark
from benchmarks.report import JSON_NAME
from benchmarks.rows import Row, Spread, at_most
from benchmarks.site import Site
from wvs_project.stack.stopping import StopAsked

ONE = Spread.of([1.0])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """No stack is started: the sites that are asked for."""
    sites: list[dict[str, Any]] = []

    @contextmanager
    def site(**options: Any) -> Iterator[Site]:
        sites.append(options)
        yield cast(Site, type("OnJuiceFS", (), {"has_juicefs": False})())

    monkeypatch.setattr(command, "own_site", site)
    monkeypatch.setattr(command, "describe", lambda site: {"machine": "this one"})
    return sites


def listed(monkeypatch: pytest.MonkeyPatch, *benchmarks: Benchmark) -> None:
    monkeypatch.setattr(command, "BENCHMARKS", {benchmark.name: benchmark for benchmark in benchmarks})


def breaks(site: Site) -> Iterator[Row]:
    yield Row("before", "s", ONE)
    raise RuntimeError("it broke")


def test_the_list_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"wakeup", "end_to_end", "standstill", "throughput", "api", "scale"} <= set(names)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nonsense"])
    assert "no benchmark is called nonsense" in capsys.readouterr().err


def test_one_that_fails_keeps_its_rows_and_the_others_run(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = Benchmark("good", "works", lambda site: iter([Row("it", "s", ONE)]))
    listed(monkeypatch, Benchmark("bad", "breaks", breaks), good)
    assert command.main(["--out", str(tmp_path)]) == 1
    bad, fine = json.loads((tmp_path / JSON_NAME).read_text())["benchmarks"]
    assert (bad["error"], [row["what"] for row in bad["rows"]]) == ("RuntimeError: it broke", ["before"])
    assert [row["what"] for row in fine["rows"]] == ["it"]
    assert len(asked) == 2


def test_a_missed_must_show_is_told_by_the_exit_code_and_only_that_of_the_chosen(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missed = Benchmark("missed", "is slow", lambda site: iter([Row("it", "s", ONE, must=at_most(p50=0.5))]))
    met = Benchmark("met", "is fast", lambda site: iter([Row("it", "s", ONE, must=at_most(p50=2.0))]))
    listed(monkeypatch, missed, met)
    assert command.main(["--out", str(tmp_path)]) == 1
    assert command.main(["met", "--out", str(tmp_path)]) == 0


def test_what_needs_juicefs_says_so_where_there_is_none(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed(monkeypatch, Benchmark("cloning", "clones", breaks, needs_juicefs=True))
    assert command.main(["--out", str(tmp_path)]) == 0
    (skipped,) = json.loads((tmp_path / JSON_NAME).read_text())["benchmarks"]
    assert (skipped["skipped"], skipped["rows"]) == ("needs JuiceFS, and so FUSE", [])


def test_small_ones_share_a_site_unless_they_need_executors_of_their_own(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = Row("it", "s", ONE)
    apart = Benchmark("apart", "has executors", lambda site: iter([row]), executors=2)
    others = [Benchmark(name, "shares", lambda site: iter([row])) for name in ("one", "two")]
    listed(monkeypatch, *others, apart)
    assert command.main(["--small", "--out", str(tmp_path)]) == 0
    assert asked == [{"small": True}, {"small": True, "executors": 2}]


def test_a_stop_that_is_asked_for_keeps_what_was_measured(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(site: Site) -> Iterator[Row]:
        yield Row("before", "s", ONE)
        raise StopAsked("SIGINT")

    listed(monkeypatch, Benchmark("long", "takes its time", stopped))
    assert command.main(["--out", str(tmp_path)]) == 130
    (kept,) = json.loads((tmp_path / JSON_NAME).read_text())["benchmarks"]
    assert [row["what"] for row in kept["rows"]] == ["before"]
