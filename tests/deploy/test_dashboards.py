"""The dashboards are what `make dashboards` writes, and ask only for what is exported (SPEC §11)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml

from scripts.dashboards.boards import BOARDS
from scripts.dashboards.panels import rendered
from tests.deploy.installation import services
from tests.deploy.queries import DASHBOARDS, metrics_in
from wvs_project.stack.config import SOURCES

PROVISIONING = SOURCES / "deploy" / "grafana" / "provisioning"


def panels_of(name: str) -> list[dict[str, Any]]:
    return list(json.loads((DASHBOARDS / f"{name}.json").read_text())["panels"])


def queries() -> Iterator[tuple[str, str]]:
    for name in BOARDS:
        for panel in panels_of(name):
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_what_its_data_says(name: str) -> None:
    assert (DASHBOARDS / f"{name}.json").read_text() == rendered(BOARDS[name]), "make dashboards"


def test_no_other_dashboard_lies_there() -> None:
    assert {path.stem for path in DASHBOARDS.iterdir()} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_ids_of_their_own_and_do_not_cover_each_other(name: str) -> None:
    panels = panels_of(name)
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or apart, (one, other)


def test_every_query_is_promql_and_asks_for_something() -> None:
    assert [panel for panel, query in queries() if not metrics_in(query)] == []


def test_grafana_asks_through_vmauth_alone_with_its_password_from_a_secret() -> None:
    source = yaml.safe_load((PROVISIONING / "datasources" / "vmauth.yml").read_text())["datasources"][0]
    assert source["url"] == "http://vmauth:8427"
    secret = source["secureJsonData"]["basicAuthPassword"]
    assert secret.removeprefix("$__file{/run/secrets/").removesuffix("}") in {
        given["source"] for given in services()["grafana"]["secrets"]
    }
    for name in BOARDS:
        shown = [panel for panel in panels_of(name) if panel["type"] != "row"]
        assert {panel["datasource"]["uid"] for panel in shown} == {source["uid"]}
