"""The volume that an executor makes in its object store (SPEC §2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from executor.remount import OwnMount
from executor.service_config import ObjectStore, OwnVolume

NOTES = '#!/bin/sh\nprintf "%s\\n" "$@" >"$0.asked"\nenv >"$0.environment"\n'


@pytest.mark.rule("SPEC-2")
def test_a_volume_in_production_keeps_its_trash_for_two_weeks_and_shows_nobody_its_keys(tmp_path: Path) -> None:
    program = tmp_path / "juicefs"
    program.write_text(NOTES)
    program.chmod(0o755)
    store = ObjectStore("http://minio:9000", "jfs-data", "the-access-key", "the-secret-key")

    OwnMount(OwnVolume("postgres://jfs@db/jfs", "the-password", store), tmp_path / "ws", program).format()

    asked = (tmp_path / "juicefs.asked").read_text().splitlines()
    assert asked[0] == "format"
    assert "--trash-days=14" in asked
    assert "http://minio:9000/jfs-data" in asked
    assert not any("the-" in word for word in asked)
    assert "SECRET_KEY=the-secret-key" in (tmp_path / "juicefs.environment").read_text()
