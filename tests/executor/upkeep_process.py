"""A sweep or a purge in a process of its own: `python -m tests.executor.upkeep_process FAILPOINTS VERB FIELDS`."""

from __future__ import annotations

import json
import sys

from executor import failpoints
from executor.contract import StopSignal
from executor.local import open_local_executor
from executor.upkeep import SweepRequest
from observation.logs import configure_logging


def main() -> None:
    configure_logging("warning", "json")
    fields = json.loads(sys.argv[3])
    executor = open_local_executor()
    failpoints.configure(sys.argv[1])
    if sys.argv[2] == "sweep":
        executor.sweep(SweepRequest(**fields), stop=StopSignal())
    else:
        executor.purge(**fields, stop=StopSignal())


if __name__ == "__main__":
    main()
