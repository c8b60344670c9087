"""What is generated is what the source says (SPEC §7): stubs are fresh, and no promise of proto/ is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.stubs import ROOT, WIRE, generate

BUF = Path(sys.executable).parent / "buf"


@pytest.mark.rule("SPEC-7-proto")
def test_the_committed_stubs_are_what_the_proto_says(tmp_path: Path) -> None:
    generate(tmp_path)

    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made
    assert {name: (WIRE / name).read_text() for name in made} == made, "stale: make stubs"


@pytest.mark.rule("SPEC-7-proto")
@pytest.mark.parametrize("asked", [("lint", "proto"), ("breaking", "proto", "--against", "proto/baseline.json")])
def test_buf_finds_nothing(asked: tuple[str, ...]) -> None:
    said = subprocess.run([BUF, *asked], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


@pytest.mark.rule("SPEC-7-proto")
def test_a_broken_promise_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "wvs" / "executor" / "v1" / "executor.proto"
    file.parent.mkdir(parents=True)
    source = (ROOT / "proto" / "wvs" / "executor" / "v1" / "executor.proto").read_text()
    file.write_text(source.replace("int64 fence = 4;", "int64 fence = 40;", 1))
    (tmp_path / "buf.yaml").write_bytes((ROOT / "proto" / "buf.yaml").read_bytes())

    asked = [str(BUF), "breaking", str(tmp_path), "--against", str(ROOT / "proto" / "baseline.json")]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)

    assert said.returncode != 0
    assert "fence" in said.stdout + said.stderr
