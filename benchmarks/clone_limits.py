"""What bounds a clone: `juicefs clone --threads`, and the settings of the PostgreSQL that has the metadata.

Volumes beside each other, each on a PostgreSQL of its own with other settings, cloned in turn with the site's own
volume, whose metadata shares the server with WVS's tables. The defaults follow from this table: nothing is asked of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.rows import Row, Spread
from benchmarks.site import Site
from benchmarks.trees import bare_clone, plant, remove
from benchmarks.volumes import own_volume

_THREADS: Final = (1, 2, 4, 8, 16)
_DEFAULT: Final = 8
"""EXECUTOR_CLONE_THREADS, unless set."""
_SETTINGS: Final[Mapping[str, Mapping[str, str]]] = {
    "an instance of its own": {},
    "its own, synchronous_commit off": {"synchronous_commit": "off"},
    "its own, shared_buffers 1 GB": {"shared_buffers": "1GB"},
}
_SITES: Final = "the stack's instance"


@dataclass(frozen=True, slots=True)
class Place:
    """A tree on a volume."""

    source: Path
    aside: Path

    @classmethod
    def on(cls, mount: Path, entries: int) -> Place:
        """Planted in a directory of its own."""
        base = mount / f"clone-{uuid.uuid4().hex[:8]}"
        place = cls(base / "source", base / "aside")
        place.source.mkdir(parents=True)
        place.aside.mkdir()
        plant(place.source, entries)
        return place

    def clone(self, threads: int) -> float:
        """Seconds."""
        return bare_clone(self.source, self.aside, "--threads", str(threads))


def rows(site: Site) -> Iterator[Row]:
    """The site's volume with each number of threads; then each setting with the default's."""
    entries, runs = site.size(10_000, 30), site.size(9, 1)
    with ExitStack() as stack:
        places = {_SITES: Place.on(site.mount, entries)}
        stack.callback(remove, places[_SITES].source.parent)
        for name, settings in site.size(_SETTINGS, dict([*_SETTINGS.items()][:1])).items():
            base = site.stack.layout.state / f"clone-{uuid.uuid4().hex[:8]}"
            places[name] = Place.on(stack.enter_context(own_volume(base, settings)).path, entries)
        yield from _by_threads(places[_SITES], site.size(_THREADS, (1, _DEFAULT)), entries, runs)
        yield from _by_settings(places, entries, runs)


def _by_threads(place: Place, counts: Sequence[int], entries: int, runs: int) -> Iterator[Row]:
    seconds: dict[int, list[float]] = {threads: [] for threads in counts}
    place.clone(_DEFAULT)
    for _ in range(runs):
        for threads in counts:
            seconds[threads].append(place.clone(threads))
    for threads in counts:
        yield _row(f"clone of {entries:,} entries, {threads} threads", seconds[threads], "8 threads", seconds[_DEFAULT])


def _by_settings(places: Mapping[str, Place], entries: int, runs: int) -> Iterator[Row]:
    seconds: dict[str, list[float]] = {name: [] for name in places}
    for place in places.values():
        place.clone(_DEFAULT)
    for _ in range(runs):
        for name, place in places.items():
            seconds[name].append(place.clone(_DEFAULT))
    for name in places:
        if name != _SITES:
            yield _row(f"clone of {entries:,} entries, {name}", seconds[name], _SITES, seconds[_SITES])


def _row(what: str, seconds: Sequence[float], beside: str, than: Sequence[float]) -> Row:
    return Row(what, "s", Spread.of(seconds), beside, Spread.of(than))
