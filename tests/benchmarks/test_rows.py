"""What a benchmark answers with: percentiles, ratios, and whether what must be shown was shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import JSON_NAME, TABLE_NAME, Measured, Report, print_rows
from benchmarks.rows import Row, Spread, at_least, at_most, rounded

SLOW, FAST = Spread.of([3.0, 3.0, 3.0]), Spread.of([2.0, 2.0, 2.0])


def test_a_spread_is_median_p99_and_the_greatest_in_the_unit_that_is_meant() -> None:
    spread = Spread.of([number / 1000 for number in range(1, 102)], 1e3)
    assert (spread.n, spread.p50, spread.p99, spread.max) == (101, 51.0, 100.0, 101.0)


def test_one_sample_is_its_own_p99_and_none_is_no_row() -> None:
    assert Spread.of([7.0]) == Spread(1, 7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="a row needs a sample"):
        Spread.of([])


def test_a_number_claims_no_more_than_four_digits() -> None:
    assert [rounded(value) for value in (0.00123456, 123456.0, 0.0)] == [0.001235, 123500.0, 0.0]


def test_ratio_and_more_compare_within_the_run() -> None:
    row = Row("it", "s", SLOW, "the other", FAST)
    assert (row.ratio, row.more) == (1.5, 1.0)
    assert (Row("it", "s", SLOW).ratio, Row("it", "s", SLOW).more) == (None, None)


def test_what_is_compared_may_be_the_p99() -> None:
    than = Spread(100, p50=1.0, p99=4.0, max=4.0)
    assert Row("it", "s", Spread(100, p50=1.0, p99=6.0, max=6.0), "the other", than, compared="p99").ratio == 1.5


@pytest.mark.parametrize(
    ("must", "met"),
    [
        (at_most(p50=3.0), True),
        (at_most(p50=2.9), False),
        (at_most(p50=3.0, p99=2.0), False),
        (at_most(max=3.0), True),
        (at_most(ratio=1.5, more=1.0), True),
        (at_most(more=0.9), False),
        (at_least(ratio=1.5), True),
        (at_least(ratio=1.6), False),
        ((), None),
    ],
)
def test_a_row_is_met_when_all_that_it_must_show_holds(must: tuple[object, ...], met: bool | None) -> None:
    assert Row("it", "s", SLOW, "the other", FAST, must=must).met is met  # type: ignore[arg-type]


def test_a_ratio_that_could_not_be_measured_is_not_met() -> None:
    row = Row("it", "s", SLOW, must=at_most(ratio=2.0))
    assert row.met is False
    assert row.missed() == "ratio ≤ 2"


def test_a_missed_row_an_error_and_a_missing_piece_make_a_run_bad() -> None:
    missed = Row("it", "s", SLOW, must=at_most(p50=1.0))
    assert Report(measured=[Measured("a", [Row("it", "s", SLOW)])]).is_good
    assert not Report(measured=[Measured("a", [missed])]).is_good
    assert not Report(measured=[Measured("a", error="it broke")]).is_good
    assert Report(measured=[Measured("a", skipped="needs FUSE")]).is_good


def test_json_and_table_hold_the_same_rows(tmp_path: Path) -> None:
    missed = Row("it", "ms", SLOW, "the other", FAST, must=at_most(ratio=1.2), notes={"inside": {"clone": 0.25}})
    report = Report({"cores": 2}, measured=[Measured("first", [missed]), Measured("second", error="it broke")])
    report.write(tmp_path)
    found = json.loads((tmp_path / JSON_NAME).read_text())
    table = (tmp_path / TABLE_NAME).read_text()
    row = found["benchmarks"][0]["rows"][0]
    assert (row["spread"]["p50"], row["than"]["p50"], row["ratio"], row["met"]) == (3.0, 2.0, 1.5, False)
    assert (found["met"], row["must"]) == (False, ["ratio ≤ 1.2"])
    assert "| first: it | 3 | 3 ms | 3 | the other | 2 | 2 | 1.5 | ratio ≤ 1.2 | **no** |" in table
    assert "- cores: 2" in table
    assert "- second: it broke" in table
    assert "- first, it: inside (clone 0.25)" in table


def test_a_benchmark_by_itself_fails_when_one_row_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_rows([Row("it", "s", SLOW, must=at_most(p50=3.0))]) == 0
    assert print_rows([Row("it", "s", SLOW, must=at_most(p50=1.0)), Row("it", "s", SLOW)]) == 1
    assert [json.loads(line)["met"] for line in capsys.readouterr().out.splitlines()] == [True, False, None]
