"""The command line that both rivals have: `fill` the queue, then `work` it off."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def do(description: str | None, *, fill: Callable[..., None], work: Callable[..., None]) -> int:
    """What is asked for on the command line, with the numbers given there. The exit code: 0."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("what", choices=("fill", "work"))
    parser.add_argument("numbers", type=int, nargs="+")
    options = parser.parse_args()
    (fill if options.what == "fill" else work)(*options.numbers)
    return 0
