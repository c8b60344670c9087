"""What lies on disk is told as it is, without a lock, and nothing planted hides the rest (SPEC §7; G10, G16)."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from executor import fence, local, tree
from executor.contract import FaultReason, StopSignal, live_id_for
from executor.layout import snapshot_descriptor
from executor.upkeep import SweepRequest
from tests.executor.calls import refusal
from tests.executor.conftest import MakeSite
from tests.executor.scene import Site, new_snapshot_id
from tests.executor.trees import plant_small, portrait
from wvs_agent.protocol import ControlState


def test_a_fresh_workspace_is_told_as_it_is(site: Site) -> None:
    site.init()
    found = site.inventory()
    assert (found.wsid, found.fence, found.current) == (site.wsid, fence.read_fence(site.ws), "live/initial")
    assert found.fence > 0
    assert found.live == ("initial",)
    assert found.staging == found.strange == ()
    assert not found.snapshots
    assert not found.freeze_asked


def test_trees_snapshots_and_staging_are_told_with_what_the_descriptors_say(site: Site) -> None:
    plant_small(site.init())
    create = site.create_request()
    outcome = site.run(create)
    switch = site.switch_request(create.snapshot_id or "")
    site.run(switch)
    later = site.create_request()
    site.ws.staging(later.task_id, later.fence).mkdir()
    found = site.inventory()
    assert found.live == ("initial", live_id_for(switch.task_id))
    assert found.current == f"live/{live_id_for(switch.task_id)}"
    assert found.staging == (f"{later.task_id}.{later.fence}",)
    assert [item.name for item in found.snapshots] == [create.snapshot_id]
    facts = found.snapshots[0].facts
    assert facts is not None
    assert (facts.task_id, facts.fence, facts.message) == (create.task_id, create.fence, "as it was")
    assert (facts.entries, facts.bytes, facts.manifest_digest) == (
        outcome.entries,
        outcome.bytes,
        outcome.manifest_digest,
    )
    assert (facts.source_live_id, facts.clone_driver) == ("initial", site.driver)
    assert facts.created_at.endswith("Z")
    assert site.inventory(descriptors=False).snapshots[0].facts is None


@pytest.mark.rule("G10")
def test_what_is_no_complete_snapshot_of_that_name_is_told_without_facts(site: Site) -> None:
    plant_small(site.init())
    whole, inherited, cut = site.snapshot(), new_snapshot_id(), site.snapshot()
    shutil.copytree(site.ws.snapshot(whole), site.ws.snapshot(inherited), symlinks=True)
    snapshot_descriptor(site.ws.snapshot(cut)).write_bytes(b"{")
    (site.ws.snapshots_dir / "left-by-hand").mkdir()
    found = {item.name: item.facts is not None for item in site.inventory().snapshots}
    assert found == {whole: True, inherited: False, cut: False, "left-by-hand": False}


def test_a_freeze_that_was_asked_for_is_told_until_it_is_taken_back(site: Site) -> None:
    site.init()
    for state in (ControlState.REQUEST_FREEZE, ControlState.REQUEST_RESUME):
        site.ask_freeze(state)
        assert site.inventory().freeze_asked is (state is ControlState.REQUEST_FREEZE)


def test_an_inventory_waits_for_nobody(site: Site) -> None:
    site.init()
    with site.ws.lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert site.inventory().live == ("initial",)
        assert site.wsid in site.executor.workspaces()


@pytest.mark.rule("G16")
@pytest.mark.parametrize("kind", ["nothing", "foreign", "file", "symlink", "linked .wvs"])
def test_what_is_no_workspace_has_no_inventory_and_is_not_listed(make_site: MakeSite, kind: str) -> None:
    site, other = make_site(), make_site()
    other.init()
    root = site.ws.root
    if kind == "file":
        root.write_text("foreign")
    elif kind == "symlink":
        root.symlink_to(other.ws.root)
    elif kind != "nothing":
        root.mkdir()
        (root / "mine").write_text("foreign")
    if kind == "linked .wvs":
        site.ws.wvs.symlink_to(other.ws.wvs)
    assert site.executor.inventory(site.wsid, descriptors=True) is None
    listed = site.executor.workspaces()
    assert other.wsid in listed
    assert site.wsid not in listed


def test_every_workspace_is_listed_once_and_in_order_and_no_other_directory(make_site: MakeSite) -> None:
    sites = [make_site() for _ in range(3)]
    for site in sites:
        site.init()
    odd = sites[0].ws.root.with_name(sites[0].wsid + "_Odd")
    shutil.copytree(sites[0].ws.wvs, odd / ".wvs")
    listed = sites[0].executor.workspaces()
    shutil.rmtree(odd)
    assert listed == sorted(set(listed))
    assert {site.wsid for site in sites} <= set(listed)
    assert odd.name not in listed


def test_a_directory_that_is_closed_to_us_hides_no_workspace(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, site = make_site(), make_site()
    for one in (closed, site):
        one.init()
    real = tree.is_real_directory

    def refusing(path: Path) -> bool:
        if path == closed.ws.wvs:
            raise PermissionError(13, "closed")
        return real(path)

    monkeypatch.setattr(tree, "is_real_directory", refusing)
    listed = site.executor.workspaces()
    assert site.wsid in listed
    assert closed.wsid not in listed


PLACES = ["live", "snapshots", "current", ".wvs/staging", ".wvs/control.json", ".wvs/fence", ".wvs/fence.lock"]


@pytest.mark.rule("G16")
@pytest.mark.parametrize("place", PLACES)
def test_what_is_planted_in_a_place_of_ours_is_told_and_hides_nothing_else(
    site: Site, tmp_path: Path, place: str
) -> None:
    plant_small(site.init())
    snapshot = site.snapshot()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("not yours")
    whole = site.inventory()
    path = site.ws.root / place
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    path.mkdir() if place == "current" else path.symlink_to(tmp_path / "secret")
    try:
        found = site.inventory()
    finally:
        path.rmdir() if place == "current" else path.unlink()
        aside.rename(path)
    name = ".wvs/fence" if place == ".wvs/fence.lock" else place
    assert set(found.strange) - {place + ".aside"} == {name}
    assert found.live == (() if place == "live" else whole.live)
    assert [item.name for item in found.snapshots] == ([] if place == "snapshots" else [snapshot])
    assert found.current == (None if place == "current" else "live/initial")
    assert found.fence == (0 if name == ".wvs/fence" else whole.fence)
    assert portrait(tmp_path / "secret").keys() == {b"", b"file"}


@pytest.mark.rule("G16")
def test_links_among_the_trees_and_snapshots_are_named_and_not_followed(site: Site, tmp_path: Path) -> None:
    plant_small(site.init())
    snapshot, linked = site.snapshot(), new_snapshot_id()
    hidden = tmp_path / "hidden"
    shutil.copytree(site.ws.snapshot(snapshot), hidden, symlinks=True)
    text = snapshot_descriptor(hidden).read_text().replace(snapshot, linked)
    snapshot_descriptor(hidden).write_text(text)
    site.ws.snapshot(linked).symlink_to(hidden)
    (site.ws.live_dir / "elsewhere").symlink_to(tmp_path)
    found = site.inventory()
    assert {item.name: item.facts is not None for item in found.snapshots} == {snapshot: True, linked: False}
    assert found.live == ("elsewhere", "initial")


def test_names_of_any_bytes_are_told_as_text(site: Site) -> None:
    site.init()
    for odd in (b"not-utf8-\xff", b"new\nline"):
        (site.ws.live_dir / os.fsdecode(odd)).mkdir()
        (site.ws.root / os.fsdecode(odd)).mkdir()
    site.ws.current.unlink()
    site.ws.current.symlink_to(os.fsdecode(b"live/\xff"))
    found = site.inventory()
    for text in (*found.live, *found.strange, found.current or ""):
        assert text.encode().decode().isprintable()
    assert len(found.live) == 3
    assert len(found.strange) == 2


def test_an_executor_whose_volume_was_replaced_does_no_upkeep(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.init()
    monkeypatch.setattr(local, "identity_of", lambda _: "another volume")
    calls: list[Callable[[], object]] = [
        site.executor.workspaces,
        site.inventory,
        lambda: site.last_written("initial"),
        site.sweep,
        site.purge,
    ]
    for call in calls:
        assert refusal(call).reason is FaultReason.UNAVAILABLE


@pytest.mark.rule("G17")
@pytest.mark.parametrize("wsid", ["", ".", "..", "a/b", "../x", "UPPER", "x\n"])
def test_an_id_that_is_none_never_becomes_a_path(site: Site, stop: StopSignal, wsid: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: site.executor.inventory(wsid, descriptors=False),
        lambda: site.executor.last_written(wsid, "initial", stop=stop),
        lambda: site.executor.last_written(site.wsid, wsid, stop=stop),
        lambda: site.executor.purge(wsid, fence=1, stop=stop),
        lambda: site.executor.sweep(SweepRequest(wsid=wsid, fence=1, everything=True), stop=stop),
    ]
    for call in calls:
        assert refusal(call).reason is FaultReason.UNSAFE_PATH
