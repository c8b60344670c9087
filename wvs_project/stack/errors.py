"""What the embedded stack says when it cannot go on."""

from __future__ import annotations


class StackError(Exception):
    """A part of the stack could not be started or stopped; the message says which, why, and what to do."""
