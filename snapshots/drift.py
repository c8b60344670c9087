"""The ways in which disk and rows can differ (SPEC §9), by name: for reports, and the labels of wvs_drift_total."""

from __future__ import annotations

from enum import StrEnum


class DriftKind(StrEnum):
    """One way."""

    MISSING_ROW = "missing_row"
    """A complete snapshot on disk that no row knows."""
    ORPHANED_ROW = "orphaned_row"
    """A row that says kept, without a complete snapshot on disk."""
    ORPHAN_FOUND = "orphan_found"
    """A row that was orphaned, whose snapshot is on disk all the same."""
    UNDELETED_DIRECTORY = "undeleted_directory"
    """A dropped snapshot whose directory is still there."""
    INVALID_SNAPSHOT = "invalid_snapshot"
    """Something below snapshots/ that is no complete snapshot."""
    MISMATCH = "mismatch"
    """Row and descriptor say different things of one snapshot."""
    POINTER = "pointer"
    """`current` points elsewhere than the row says."""
    MISSING_CURRENT = "missing_current"
    """No symlink, though the workspace is initialised."""
    MISSING_WORKSPACE = "missing_workspace"
    """An initialised workspace of which nothing is on disk."""
    UNKNOWN_WORKSPACE = "unknown_workspace"
    """A workspace on disk that no row knows."""
    STRANGE = "strange"
    """Something in a workspace's directory that is none of ours."""
    STALE_WRITER = "stale_writer"
    """A live tree that was written to after `current` was switched away from it."""
    UNKNOWN_TREE = "unknown_tree"
    """A live tree of which no task tells when `current` was switched away from it."""
