"""What rules and dashboards name is exported: by our processes, or by the JuiceFS mount (SPEC §11)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.queries import OF_THE_PIPELINE, RULES, family_of, metrics_in
from tests.deploy.test_dashboards import queries
from tests.metrics.exported import exported
from tests.servers import JuiceFSVolume
from tests.waiting import eventually


def named() -> set[str]:
    """Every metric of the rules and the dashboards, but for those that a rule records and the pipeline makes."""
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    asked = [rule["expr"] for rule in rules] + [query for _, query in queries()]
    return {name for query in asked for name in metrics_in(query)} - recorded - OF_THE_PIPELINE


def test_what_is_named_of_ours_is_exported() -> None:
    ours = {family_of(name) for name in named() if name.startswith("wvs_")}
    assert ours
    assert ours - {one.name for one in exported()} == set()


def test_nothing_is_named_that_is_neither_ours_nor_the_mounts() -> None:
    assert {name for name in named() if not name.startswith(("wvs_", "juicefs_"))} == set()


@pytest.mark.fuse
def test_what_is_named_of_the_mount_a_real_mount_exports(juicefs_volume: JuiceFSVolume, juicefs_dir: Path) -> None:
    wanted = {family_of(name) for name in named() if name.startswith("juicefs_")}
    assert wanted
    (juicefs_dir / "written").write_bytes(b"x" * 4096)
    (juicefs_dir / "written").read_bytes()
    (juicefs_dir / "written").unlink()

    def missing() -> set[str]:
        text = httpx.get(f"http://{juicefs_volume.first.metrics_addr}/metrics", trust_env=False).text
        return wanted - {family.name for family in text_string_to_metric_families(text)}

    eventually(lambda: not missing(), f"{missing()} of the mount")
